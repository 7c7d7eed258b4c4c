use super::*;
use nurture_text::Message;

fn row(line: usize, user: &str, answer: Answer) -> Example {
    let messages = vec![Message::new("user", user)];
    Example { id: format!("a.jsonl:{line}"), source: 0, line, messages, answer, group: None }
}

fn free(line: usize, user: &str, answer: &str) -> Example {
    row(line, user, Answer::Free(vec![answer.into()]))
}

fn run(rows: Vec<Example>, options: &CleanOptions) -> (Vec<Example>, Ledger, CleanReport) {
    let mut ledger = Ledger::new(["a.jsonl"], 5);
    rows.iter().for_each(|r| ledger.count(0, &Fate::Used, &r.id));
    let mut rows = rows;
    let report = clean(&mut rows, options, true, &mut ledger);
    assert!(ledger.adds_up());
    assert_eq!(ledger.total().used, rows.len() as u64);
    (rows, ledger, report)
}

fn redact() -> CleanOptions {
    CleanOptions {
        personal: SensitivePolicy::Redact,
        secrets: SensitivePolicy::Redact,
        ..CleanOptions::default()
    }
}

#[test]
fn of_sensitive_values_the_kind_may_be_left_alone() {
    let check = |text: &str, want: &str| {
        let kinds = [Sensitive::Email, Sensitive::IdCard];
        assert_eq!(super::redact::kinds_only(text, &kinds), want, "{text}");
        assert_eq!(super::redact::kinds_only(want, &kinds), want, "{want}");
        assert_eq!(super::redact::kinds_only(text, &[]), text);
    };
    check("to a@b.co and [EMAIL_12].", "to [EMAIL] and [EMAIL].");
    check("[ID_CARD_3][EMAIL_1]", "[ID_CARD][EMAIL]");
    check("[EMAIL_] [EMAIL_x] [PHONE_1] 13800138000", "[EMAIL_] [EMAIL_x] [PHONE_1] 13800138000");
    check("", "");
}

#[test]
fn the_default_changes_nothing() {
    let rows = vec![free(1, " a\r\n b ", "13800138000"), free(2, " a\r\n b ", "13800138000")];
    let (kept, _, report) = run(rows.clone(), &CleanOptions::default());
    assert_eq!(kept, rows);
    assert_eq!((report.tidied, report.near_duplicates, report.sensitive.len()), (0, 0, 0));
}

#[test]
fn the_same_value_is_the_same_placeholder_in_every_kind_of_answer() {
    let chat = Example {
        messages: vec![
            Message::new("system", "Call 13800138000."),
            Message::new("user", "我的号码是138 0013 8000"),
            Message::new("assistant", "记下了：+86 13800138000，另有13900139000"),
        ],
        ..row(2, "", Answer::Chat)
    };
    let options = vec!["a@b.com".to_string(), "c@d.com".to_string()];
    let text = Example { messages: vec![Message::new("text", "A@B.com")], ..row(4, "", Answer::Text) };
    let rows = vec![
        free(1, "谁的电话是13800138000？", "张三的，邮箱 c@d.com"),
        chat,
        row(3, "Which address?", Answer::Choice { options, correct: 1 }),
        text,
        row(5, "no value", Answer::Label("13800138000".into())),
    ];
    let (kept, ledger, report) = run(rows, &redact());
    let all: Vec<String> = kept.iter().map(|e| texts(e).collect::<Vec<_>>().join(" / ")).collect();
    assert_eq!(
        all,
        [
            "谁的电话是[PHONE_1]？ / 张三的，邮箱 [EMAIL_1]",
            "Call [PHONE_1]. / 我的号码是[PHONE_1] / 记下了：[PHONE_1]，另有[PHONE_2]",
            "Which address? / [EMAIL_2] / [EMAIL_1]",
            "[EMAIL_2]",
            "no value",
        ]
    );
    assert_eq!(kept[4].answer, Answer::Label("13800138000".into()), "labels are a closed set");
    assert_eq!(
        (report.redacted, ledger.total().redacted, ledger.sources[0].examples["redacted"].len()),
        (4, 4, 4)
    );
    let phone = &report.sensitive[&Sensitive::Phone];
    assert_eq!((phone.rows, phone.places, phone.values), (2, 5, 2));
    assert!(!serde_json::to_string(&report).unwrap().contains("138"), "a report keeps no values");
}

#[test]
fn secrets_come_before_numbers_and_policies_differ() {
    let text = "token: a1b2c3-13800138000-x9, tel 13800138000";
    let mut options = redact();
    let (kept, _, _) = run(vec![free(1, text, "ok")], &options);
    assert_eq!(kept[0].messages[0].content, "token: [SECRET_1], tel [PHONE_1]");
    options.personal = SensitivePolicy::Report;
    let (kept, _, report) = run(vec![free(1, text, "ok")], &options);
    assert_eq!(kept[0].messages[0].content, "token: [SECRET_1], tel 13800138000");
    assert_eq!(report.sensitive.len(), 2);
    options.personal = SensitivePolicy::Drop;
    let (kept, ledger, _) = run(vec![free(1, "tel 13800138000", "x"), free(2, "fine", "y")], &options);
    assert_eq!((kept.len(), ledger.total().dropped[PERSONAL_DATA]), (1, 1));
    options.personal_kinds = vec![Sensitive::Email];
    assert_eq!(run(vec![free(1, "tel 13800138000", "x")], &options).0.len(), 1);
}

#[test]
fn tidying_makes_duplicates_and_empties() {
    let options = CleanOptions { tidy: true, ..CleanOptions::default() };
    let empty = Example { messages: vec![Message::new("text", "\u{200b} \n")], ..row(3, "", Answer::Text) };
    let rows = vec![free(1, "a b", "c"), free(2, "a\u{a0}b ", "c\n"), empty];
    let (kept, ledger, report) = run(rows, &options);
    assert_eq!((kept.len(), report.tidied), (1, 2));
    assert_eq!((ledger.total().duplicate, ledger.total().dropped[NOTHING_LEFT]), (1, 1));
}

#[test]
fn languages_are_counted_and_filtered() {
    let options = CleanOptions { languages: vec![Language::Zh], ..CleanOptions::default() };
    let rows = vec![
        free(1, "阀门在哪里？", "在左边。"),
        free(2, "Where is the valve?", "Left."),
        free(3, "1+1", "2"),
    ];
    let (kept, ledger, report) = run(rows, &options);
    assert_eq!(kept.iter().map(|e| e.line).collect::<Vec<_>>(), [1, 3]);
    assert_eq!(ledger.total().dropped[OTHER_LANGUAGE], 1);
    assert_eq!(report.languages, [("en".into(), 1), ("none".into(), 1), ("zh".into(), 1)].into());
}

#[test]
fn near_duplicates_in_both_languages() {
    let en = "To close the main valve turn the red handle clockwise until it stops and wait for ten seconds before you \
              open the drain, then check the gauge on the left side of the pump";
    let zh = "关闭主阀门时，请顺时针转动红色手柄直到停止，等待十秒钟后再打开排水口，然后检查泵左侧的压力表读数是否为零，并在值班记录上签名";
    let rows = || {
        vec![
            free(1, en, "ok"),
            free(2, &en.replace("ten", "TWELVE").replace(',', " ;"), "ok"),
            free(3, zh, "好"),
            free(4, &zh.replace("签名", "签字").replace('，', ", "), "好"),
            free(5, "Open the drain.", "ok"),
            row(6, en, Answer::Label("close".into())),
            row(7, &format!("{en} now"), Answer::Label("open".into())),
            row(8, &format!("{en} now"), Answer::Label("close".into())),
        ]
    };
    let mut options =
        CleanOptions { near: NearPolicy::Drop, similarity: 0.7, seed: 4, ..CleanOptions::default() };
    let (kept, ledger, report) = run(rows(), &options);
    // 6 repeats 1: a free answer does not protect a text; 7 answers otherwise than 8 does
    let lines: Vec<usize> = kept.iter().map(|e| e.line).collect();
    assert_eq!(lines, [1, 3, 5], "{:?}", report.near_pairs);
    assert_eq!((ledger.total().near_duplicate, report.near_duplicates), (5, 5));
    options.near = NearPolicy::Report;
    let (kept, _, told) = run(rows(), &options);
    assert_eq!((kept.len(), told.near_duplicates), (8, 5));
    // labels differ: both lessons stay
    let (kept, _, _) = run(rows().split_off(5), &CleanOptions { near: NearPolicy::Drop, ..options });
    assert_eq!(kept.iter().map(|e| e.line).collect::<Vec<_>>(), [6, 7]);
}

#[test]
fn boilerplate_goes_from_documents_only() {
    let options = CleanOptions { tidy: true, boilerplate: 0.5, ..CleanOptions::default() };
    let page = |n: usize| Example {
        messages: vec![Message::new(
            "text",
            format!("Internal use only\n\nPump {}\n", ["a", "b", "c", "d"][n]),
        )],
        ..row(n + 1, "", Answer::Text)
    };
    let mut rows: Vec<Example> = (0..4).map(page).collect();
    rows.extend((5..9).map(|n| free(n, "Internal use only", &format!("answer {n}"))));
    let (kept, _, report) = run(rows, &options);
    assert_eq!(kept[0].messages[0].content, "Pump a");
    assert_eq!(kept[4].messages[0].content, "Internal use only");
    assert_eq!((report.boilerplate_lines, report.boilerplate[0].documents), (4, 4));
}
