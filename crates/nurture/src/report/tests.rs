//! The promises of the report: nothing from outside becomes markup, nothing is printed that is no number, both
//! languages say everything.
use super::data::*;
use super::verdict::word;
use super::{html, markdown};
use crate::lang::{Lang, Said};
use crate::recipe::{Derived, InputHash, Override};
use nurture_eval::{Finding, Gate, Verdict, VerdictKind};

/// A report of a run as it might be; invented figures, for tests of the form only.
pub(crate) fn sample() -> ReportData {
    let exam = ExamReport {
        preference: None,
        overlap: vec![nurture_data::Overlap {
            exam: "exam.jsonl:4".into(),
            training: "train.jsonl:17".into(),
            kind: nurture_data::OverlapKind::Copied,
            share: 0.75,
        }],
        overlap_left_out: true,
        name: "service-desk".into(),
        kind: "label".into(),
        mode: "exact".into(),
        items: 240,
        of: 312,
        stratified: true,
        labels: 24,
        scorer: String::new(),
        manner: nurture_eval::Manner::default(),
        calibration: Default::default(),
        graded: false,
        majority_accuracy: Some(0.042),
        base: Mark {
            correct: 59,
            accuracy: 59.0 / 240.0,
            ci: [0.195, 0.304],
            macro_f1: Some(0.212),
            ..Mark::default()
        },
        tuned: Mark {
            correct: 219,
            accuracy: 219.0 / 240.0,
            ci: [0.870, 0.942],
            macro_f1: Some(0.907),
            ..Mark::default()
        },
        paired: Paired {
            diff: 160.0 / 240.0,
            ci: [0.604, 0.725],
            p: 1e-38,
            only_base: 3,
            only_tuned: 163,
            minimum_detectable: Some(0.151),
        },
        confusions_base: vec![
            confusion("battery drains", "refund", 9),
            confusion("lost device", "shipping time", 7),
        ],
        confusions_tuned: vec![confusion("battery drains", "battery will not charge", 4)],
        changed: vec![
            Changed {
                question: "The lamp went dark after the update and blinks twice. What now?".into(),
                gold: "firmware update failed".into(),
                base: "refund".into(),
                tuned: "firmware update failed".into(),
                base_right: false,
                tuned_right: true,
            },
            Changed {
                question: "Kann ich auch auf Rechnung zahlen?".into(),
                gold: "payment methods".into(),
                base: "payment methods".into(),
                tuned: "invoice copy".into(),
                base_right: true,
                tuned_right: false,
            },
        ],
        all: vec![ItemRow {
            item: Changed {
                question: "The lamp went dark <b>. What now?".into(),
                gold: "firmware update failed".into(),
                base: "refund".into(),
                tuned: "firmware update failed".into(),
                base_right: false,
                tuned_right: true,
            },
            sure: Some([0.31, 0.97]),
        }],
        per_label: (0..24)
            .map(|n| LabelRow {
                label: format!("label {n}"),
                items: 10,
                base_correct: n % 6,
                tuned_correct: 10 - n % 3,
            })
            .collect(),
    };
    let breadth = TextReport {
        name: "general-mini".into(),
        tokens: 18_204,
        bytes: 79_113,
        base_ppl: 21.408,
        tuned_ppl: 21.702,
        base_bpb: 1.0172,
        tuned_bpb: 1.0218,
        diff: 0.0046,
        ci: [0.0011, 0.0081],
    };
    let verdict = Verdict {
        kind: VerdictKind::Deeper,
        gate: Gate { min_gain: 0.02, max_breadth_loss: 0.05, ..Gate::default() },
        exams: vec![Finding::Gain],
        texts: Vec::new(),
    };
    let noise = |n: u64| ((n * 2_654_435_761) % 1000) as f64 / 1000.0 - 0.5;
    ReportData {
        kind: ReportKind::Run,
        title: "Service desk of the Lumen lamp".into(),
        run: "quickstart".into(),
        created: "2026-11-23 18:40 UTC".into(),
        version: "0.1.0".into(),
        base: BaseInfo {
            name: "smollm2-135m-instruct".into(),
            file: "SmolLM2-135M-Instruct.Q4_1.gguf".into(),
            sha256: "9f2c".repeat(16),
            dtypes: "Q4_1 ×210, F32 ×61, Q8_0 ×1".into(),
            params: 134_515_008,
            licence: "Apache-2.0".into(),
            template: "the model's own".into(),
        },
        adapter: AdapterInfo {
            kind: "lora".into(),
            rank: 16,
            alpha: 32.0,
            rslora: false,
            targets: ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
                .map(String::from)
                .into(),
            params: 4_884_480,
            path: "adapter/adapter_model.safetensors".into(),
            sha256: "07ab".repeat(16),
        },
        machine: MachineInfo { cpu: "AMD EPYC 7763".into(), threads: 2, isa: "avx2+fma".into() },
        recipe:
            "[model]\nbase = \"smollm2-135m-instruct\"\n[data]\ntrain = [{ path = \"data/train.jsonl\" }]\n"
                .into(),
        overrides: vec![Override { key: "train.effort".into(), value: "quick".into() }],
        derived: vec![
            Derived {
                key: "train.epochs".into(),
                value: "2.4".into(),
                reason: Said::new(
                    "effort quick processes about 120k tokens; one pass has 50k",
                    "力度 quick 约处理 120k 个词元；一遍有 50k 个",
                ),
                given: false,
            },
            Derived {
                key: "train.rate".into(),
                value: "1e-3".into(),
                reason: Said::new("given by the recipe", "配方给出"),
                given: true,
            },
        ],
        ledger: vec![LedgerSource {
            path: "data/train.jsonl".into(),
            role: "train".into(),
            rows: 1012,
            buckets: vec![
                LedgerBucket { fate: Said::new("used", "使用"), reason: Said::default(), count: 1007 },
                LedgerBucket {
                    fate: Said::new("dropped", "舍弃"),
                    reason: Said::new("same text as an earlier row", "与前面某行文字相同"),
                    count: 5,
                },
            ],
            redacted: 2,
            tokens: 50_310,
            trained_tokens: 6_120,
        }],
        cleaning: cleaned(),
        curve: (1..=152)
            .map(|n| CurvePoint {
                preferred: None,
                step: n,
                loss: 0.12 + 2.9 * (-(n as f64) / 28.0).exp() + 0.25 * noise(n) * (-(n as f64) / 90.0).exp(),
                rate: 1e-3,
                grad_norm: 1.4 + noise(n),
                tok_s: 310.0 + 20.0 * noise(n),
                rewards: None,
            })
            .collect(),
        forecast: Cost { memory_bytes: Some(6.2e8), seconds: Some(372.0), total_seconds: Some(455.0) },
        outcome: Cost { memory_bytes: Some(5.98e8), seconds: Some(391.4), total_seconds: Some(468.0) },
        trained_tokens: 120_744,
        train_examples: 1007,
        exams: vec![exam],
        depth_texts: Vec::new(),
        breadth: vec![breadth],
        verdict,
        commands: vec![
            Command {
                does: Said::new("Repeat this run:", "重复这次运行："),
                text: "nurture run runs/quickstart/recipe.lock.toml".into(),
            },
            Command {
                does: Said::new("Talk to the model:", "与模型对话："),
                text: "nurture chat smollm2-135m-instruct --adapter runs/quickstart".into(),
            },
        ],
        inputs: vec![InputHash {
            role: "train".into(),
            path: "data/train.jsonl".into(),
            sha256: "c0de".repeat(16),
            bytes: 204_112,
        }],
        warnings: vec![Said::new("5 rows occurred twice and were used once.", "有 5 行重复，只用了一次。")],
        stages: Vec::new(),
        birth: None,
        public: false,
        seeds: None,
        breadth_exams: Vec::new(),
        drifts: vec![DriftReport {
            name: "prompts-en".into(),
            prompts: 80,
            tokens: 3_120,
            kl: 0.0421,
            ci: [0.031, 0.055],
            base_ppl: 1.42,
            tuned_ppl: 1.51,
            agree: 0.93,
            groups: vec![nurture_eval::DriftGroup {
                group: "code".into(),
                prompts: 10,
                tokens: 420,
                kl: 0.09,
                agree: 0.88,
            }],
            moved: vec![MovedAnswer {
                prompt: "What is a hash map?".into(),
                answer: "A table of keys and values.".into(),
                kl: 0.4,
            }],
        }],
    }
}

fn confusion(gold: &str, predicted: &str, count: u64) -> Confusion {
    Confusion { gold: gold.into(), predicted: predicted.into(), count }
}

/// Puts `text` in place of every string, and `number` in place of every fraction, of a report.
fn replace(data: &ReportData, text: Option<&str>, number: Option<f64>) -> ReportData {
    fn walk(value: &mut serde_json::Value, text: Option<&str>, key: &str) {
        match value {
            // what each exam shows: a word of a closed list, as the verdict's
            serde_json::Value::String(_) if ["exams", "asked", "ask", "pick"].contains(&key) => {}
            // what the report is of
            serde_json::Value::String(old) if key == "kind" && old == "run" => {}
            // and how an item overlaps
            serde_json::Value::String(old) if matches!(old.as_str(), "same" | "near" | "copied") => {}
            serde_json::Value::String(old) if key != "kind" || !old.contains('_') && old != "deeper" => {
                if let Some(text) = text {
                    *old = text.to_string();
                }
            }
            serde_json::Value::Array(items) => items.iter_mut().for_each(|item| walk(item, text, key)),
            serde_json::Value::Object(map) => map.iter_mut().for_each(|(key, value)| walk(value, text, key)),
            _ => {}
        }
    }
    let mut json = serde_json::to_value(data).unwrap();
    walk(&mut json, text, "");
    let mut data: ReportData = serde_json::from_value(json).unwrap();
    if let Some(n) = number {
        data.curve.iter_mut().for_each(|p| (p.loss, p.rate, p.grad_norm, p.tok_s) = (n, n, n, n));
        data.forecast = Cost { memory_bytes: Some(n), seconds: Some(n), total_seconds: Some(n) };
        data.outcome = data.forecast;
        data.adapter.alpha = n;
        for exam in &mut data.exams {
            for mark in [&mut exam.base, &mut exam.tuned] {
                *mark = Mark { correct: 0, accuracy: n, ci: [n, n], macro_f1: Some(n), ..Mark::default() };
            }
            exam.paired = Paired { diff: n, ci: [n, n], p: n, ..exam.paired };
            exam.per_label.iter_mut().for_each(|row| row.items = 0);
        }
        for text in &mut data.breadth {
            (text.base_ppl, text.tuned_ppl, text.base_bpb, text.tuned_bpb, text.diff) = (n, n, n, n, n);
            text.ci = [n, n];
        }
        data.base.params = 0;
    }
    data
}

#[test]
fn items_that_training_holds_too_are_not_called_drawn() {
    let told = |items| {
        let mut data = sample();
        data.exams[0].items = items;
        super::lead::limits(Lang::En, &data).into_iter().find(|l| l.contains("were drawn"))
    };
    // 312 in the file, one of them in the training data
    assert!(told(240).unwrap().contains("240 of 311 items"));
    assert_eq!(told(311), None);
}

#[test]
fn nothing_from_outside_becomes_markup() {
    let hostile =
        "\"'><script>alert(1)</script><img src=x onerror=y>\n`|*_[a](javascript:b)\u{202e}\u{0}```\n# h";
    let data = replace(&sample(), Some(hostile), None);
    for lang in Lang::ALL {
        let page = html(&data, lang);
        for bad in ["<script", "<img", "\u{202e}", "\u{0}"] {
            assert!(!page.contains(bad), "{bad:?}");
        }
        // Every tag of the page is one that we write, and all are closed.
        let mut open = Vec::new();
        for tag in page.split('<').skip(1).filter_map(|rest| rest.split('>').next()) {
            let name = tag.trim_start_matches('/').split([' ', '/']).next().unwrap_or_default();
            if tag.starts_with('/') {
                assert_eq!(open.pop().as_deref(), Some(name), "{tag}");
            } else if !(tag.ends_with('/') || ["!doctype", "meta"].contains(&name)) {
                open.push(name.to_string());
            }
        }
        assert!(open.is_empty(), "{open:?}");

        let text = markdown(&data, lang);
        assert!(!text.contains("\n# h\n\n") && !text.contains("\u{202e}"));
        let outside_fences: String = text.split("````").step_by(2).collect();
        assert!(!outside_fences.contains("<script") && !outside_fences.contains("[a]("));
    }
}

#[test]
fn only_numbers_are_printed() {
    for number in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY, -1.0, 0.0, 1e300, -1e300] {
        let data = replace(&sample(), None, Some(number));
        for lang in Lang::ALL {
            for page in [html(&data, lang), markdown(&data, lang)] {
                for bad in ["NaN", "inf\"", " inf", "Infinity", ">inf"] {
                    assert!(!page.contains(bad), "{number}: {bad}");
                }
            }
        }
    }
}

#[test]
fn an_empty_report_still_speaks() {
    for lang in Lang::ALL {
        let page = html(&ReportData::default(), lang);
        assert!(page.contains(word(VerdictKind::NotShown).get(lang)));
        assert!(page.contains(lang.pick("No exam was sat", "没有考试")));
        assert!(!page.contains("<svg") && !markdown(&ReportData::default(), lang).is_empty());
    }
    let mut one = ReportData {
        curve: vec![CurvePoint { step: 1, loss: 2.0, ..Default::default() }],
        ..Default::default()
    };
    assert!(html(&one, Lang::En).contains("<circle"));
    one.curve.push(CurvePoint { step: 1, loss: 2.0, ..Default::default() });
    assert!(html(&one, Lang::En).contains("<polyline"));
}

#[test]
fn both_languages_say_everything() {
    let data = sample();
    for (lang, words) in [
        (
            Lang::En,
            [
                "Deeper",
                "Risks and limits",
                "Do it again",
                "The ledger",
                "Forecast",
                "Breadth",
                "95\u{202f}% interval",
            ],
        ),
        (Lang::Zh, ["更深", "风险与局限", "重做一遍", "账本", "预测", "广度", "95% 区间"]),
    ] {
        for page in [html(&data, lang), markdown(&data, lang)] {
            for word in words {
                assert!(page.contains(word), "{word}");
            }
            for figure in ["24.6", "91.2", "+66.7", "+60.4", "&lt; 0.0001", "general-mini"] {
                assert!(page.contains(figure), "{figure}");
            }
        }
    }
    // The same structure in both: as many tags, tables, rows and points.
    let tags = |lang| html(&data, lang).matches('<').count();
    assert_eq!(tags(Lang::En), tags(Lang::Zh));
    let han = |c: char| ('\u{4e00}'..='\u{9fff}').contains(&c);
    assert!(!html(&data, Lang::En).contains(han) && !markdown(&data, Lang::En).contains(han));
}

#[test]
fn the_page_asks_nothing_of_the_network() {
    let page = html(&sample(), Lang::En);
    for outside in ["http:", "https:", "//", "url(", "@import", "<link", "<script", "src="] {
        assert!(!page.contains(outside), "{outside}");
    }
}

#[test]
fn each_verdict_has_its_sentence() {
    let mut data = sample();
    let check = |data: &ReportData, en: &str, zh: &str| {
        for (lang, want) in [(Lang::En, en), (Lang::Zh, zh)] {
            assert!(html(data, lang).contains(want), "{want}");
        }
    };
    check(&data, "It cost some breadth", "广度有所损失");
    data.verdict.kind = VerdictKind::NotShown;
    data.exams[0].paired.ci = [-0.01, 0.02];
    check(&data, "can be chance", "可能出于偶然");
    data.exams[0].paired.ci = [0.01, 0.05];
    check(&data, "not surely the 2.0 points", "不足以确认达到要求的 2.0");
    (data.exams[0].paired.ci, data.exams[0].paired.p) = ([0.03, 0.05], 0.0625);
    check(&data, "to be sure of it (p = 0.06", "不足以确认（p = 0.06");
    data.breadth[0].diff = 0.2;
    data.verdict.kind = VerdictKind::DeeperButNarrower;
    check(&data, "became harder", "变难了");
    data.ledger[0].rows += 1;
    check(&data, "does not add up", "账不平");
}

#[test]
fn bits_per_byte_follow_from_perplexity() {
    // 1000 tokens of 4 bytes each: ln 20 nats a token are ln 20 / ln 2 / 4 bits a byte.
    let bpb = |ppl: f64| ppl.ln() / std::f64::consts::LN_2 / 4.0;
    let text = TextReport::new("t", 1000, [20.0, 21.0], [bpb(20.0), bpb(21.0)], [1.04, 1.06]);
    assert_eq!(text.bytes, 4000);
    assert!(
        (text.ci[0] - (bpb(20.8) - bpb(20.0))).abs() < 1e-12
            && text.ci[0] < text.diff
            && text.diff < text.ci[1]
    );
    assert_eq!(TextReport::new("t", 0, [1.0, 1.0], [0.0, 0.0], [1.0, 1.0]).bytes, 0);
}

#[test]
fn graded_exams_speak_of_scores() {
    let mut data = sample();
    data.exams[0].graded = true;
    data.exams[0].paired.diff = 0.05;
    let page = html(&data, Lang::En);
    assert!(page.contains("the base scores") && page.contains("mean score") && !page.contains("McNemar"));
    // that figure counts right and wrong answers
    assert!(!page.contains("points on"));
    data.exams[0].graded = false;
    assert!(html(&data, Lang::En).contains("only from about 15.1 points on"));
}

#[test]
fn the_data_survives_its_file() {
    let mut data = sample();
    data.curve.truncate(1); // the reader of JSON may miss the last bit of a long fraction
    data.curve[0].loss = 2.5;
    let text = serde_json::to_string(&data).unwrap();
    assert!(serde_json::from_str::<ReportData>(&text).unwrap() == data);
}

/// Writes the sample where a browser can look at it: `NURTURE_REPORT_SAMPLE=folder cargo test -- --ignored look`.
#[test]
#[ignore = "for eyes, not for machines"]
fn look_at_the_sample() {
    let folder =
        std::path::PathBuf::from(std::env::var("NURTURE_REPORT_SAMPLE").expect("NURTURE_REPORT_SAMPLE"));
    for lang in Lang::ALL {
        let name = lang.pick("en", "zh");
        std::fs::write(folder.join(format!("report.{name}.html")), html(&sample(), lang)).unwrap();
        std::fs::write(folder.join(format!("report.{name}.md")), markdown(&sample(), lang)).unwrap();
        let mut long = sample();
        long.title = "一个很长的标题，用来看看在手机上会不会溢出页面边缘，以及换行是否合适".into();
        long.exams[0].name =
            "financial-compliance-and-risk-management-certificate-2026-second-sitting".into();
        long.exams[0].changed[0].question = "averyveryverylongwordwithoutanyspace".repeat(9) + "\n第二行";
        long.exams[0].paired.ci = [-0.02, 0.05];
        long.exams.push(long.exams[0].clone());
        long.ledger[0].path = "数据/某个很深的文件夹/another-folder/train-part-0001-of-0032.jsonl".into();
        (long.verdict.kind, long.breadth[0].diff) = (VerdictKind::NotShown, 0.1);
        long.curve.truncate(9);
        std::fs::write(folder.join(format!("long.{name}.html")), html(&long, lang)).unwrap();
        std::fs::write(folder.join(format!("recipe.{name}.md")), crate::recipe::markdown(lang)).unwrap();
    }
}

#[test]
fn items_that_overlap_are_listed_with_their_place() {
    let en = markdown(&sample(), Lang::En);
    for want in ["1 items that stand in the training data too (left out)", "train.jsonl:17", "75.0"] {
        assert!(en.contains(want), "{want}\n{en}");
    }
    assert!(markdown(&sample(), Lang::Zh).contains("训练数据里也有的 1 题（已剔除）"));
}

fn cleaned() -> nurture_data::CleanReport {
    use nurture_data::{NearPair, Sensitive, SensitiveFound};
    let phone = SensitiveFound { rows: 2, places: 3, values: 1, examples: vec!["train.jsonl:7".into()] };
    nurture_data::CleanReport {
        rows: 1012,
        tidied: 31,
        near_duplicates: 4,
        near_pairs: vec![NearPair {
            first: "train.jsonl:1".into(),
            second: "train.jsonl:9".into(),
            similarity: 0.91,
        }],
        letters: nurture_data::Letters { zh: 10, en: 80, other: 10 },
        languages: [("en".to_string(), 1012)].into(),
        sensitive: [(Sensitive::Phone, phone)].into(),
        redacted: 2,
        ..Default::default()
    }
}

#[test]
fn the_page_says_what_cleaning_did() {
    let data = crate::report::data::ReportData {
        cleaning: cleaned(),
        ledger: vec![LedgerSource::default()],
        ..Default::default()
    };
    let (en, zh) = (markdown(&data, Lang::En), markdown(&data, Lang::Zh));
    for want in [
        "telephone numbers",
        "different values: 1; first rows: train.jsonl:7",
        "English 80.0 %",
        "train.jsonl:9 ≈ train.jsonl:1 (0.91)",
    ] {
        assert!(en.contains(want), "{want}\n{en}");
    }
    for want in ["电话号码", "几乎相同的行", "已替换敏感值的行"] {
        assert!(zh.contains(want), "{want}\n{zh}");
    }
    let none =
        crate::report::data::ReportData { ledger: vec![LedgerSource::default()], ..Default::default() };
    assert!(!markdown(&none, Lang::En).contains("What cleaning found"));
}
