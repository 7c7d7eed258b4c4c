//! The promises of the recipe: no drift between struct, table and documents; refusals that help; a lock that repeats.
use std::collections::BTreeSet;
use std::path::Path;

use super::docs::walk;
use super::nearest::ELSEWHERE;
use super::*;
use crate::lang::Lang;

const SMALL: &str = r#"
[model]
base = "smollm2-135m-instruct"
[data]
train = [{ path = "data/train.jsonl" }]
[train]
adapter = { kind = "lora" }
"#;

fn parse(text: &str, sets: &[&str]) -> Result<Loaded, RecipeError> {
    let sets: Vec<_> = sets.iter().map(|set| set.to_string()).collect();
    Recipe::parse(text, Path::new("recipes/desk.toml"), &sets, Path::new("/w"))
}

fn good(text: &str, sets: &[&str]) -> Recipe {
    parse(text, sets).unwrap_or_else(|error| panic!("{error}")).recipe
}

/// The refusal, in English; that there is a Chinese one is checked on the way.
fn refusal(text: &str, sets: &[&str]) -> String {
    let error = parse(text, sets).expect_err("should be refused");
    let zh = error.message(Lang::Zh);
    assert!(zh.chars().any(|c| ('\u{4e00}'..'\u{9fff}').contains(&c)), "no Chinese in {zh}");
    error.to_string()
}

/// A recipe that gives every key its example, so that nothing is left to a default.
fn everything() -> String {
    fn table(section: &Section, later: bool) -> String {
        let one = |field: &Field| match field.kind {
            Kind::Table(inner) => format!("{} = {}", field.name, table(inner, later)),
            Kind::List(Kind::Table(inner)) => format!("{} = [{}]", field.name, table(inner, later)),
            // beside an adapter there is nothing to freeze
            _ if field.name == "freeze" => "freeze = []".to_string(),
            // rules belong to practice, and practice takes the policy as it is
            _ if field.name == "method" => "method = \"grpo\"".to_string(),
            _ if ["neftune", "label_smoothing", "z_loss"].contains(&field.name) => {
                format!("{} = 0.0", field.name)
            }
            _ => format!("{} = {}", field.name, field.example),
        };
        // a base that is there, a newborn and an encoder-decoder are one or the other
        let fields = section.fields.iter().filter(|field| !["base", "seq2seq"].contains(&field.name));
        // only the first stage holds rows out
        let fields = fields.filter(|field| !later || field.name != "hold_out");
        format!("{{ {} }}", fields.map(one).collect::<Vec<_>>().join(", "))
    }
    Recipe::SECTION
        .fields
        .iter()
        .map(|field| match field.kind {
            Kind::Table(inner) => format!("{} = {}\n", field.name, table(inner, false)),
            Kind::List(Kind::Table(inner)) => format!("{} = [{}]\n", field.name, table(inner, true)),
            _ => panic!("the top holds tables only"),
        })
        .collect()
}

#[test]
fn struct_and_table_have_the_same_keys() {
    let recipe = good(&everything(), &[]);
    let mut table = BTreeSet::new();
    walk(&Recipe::SECTION, "", &mut |at, _, _| assert!(table.insert(at.replace("[]", "")), "{at} twice"));

    fn keys(value: &toml::Value, at: &str, out: &mut BTreeSet<String>) {
        match value {
            toml::Value::Table(entries) => entries.iter().for_each(|(key, inner)| {
                let at = check::join(at, key);
                keys(inner, &at, out);
                out.insert(at);
            }),
            toml::Value::Array(items) => items.iter().for_each(|item| keys(item, at, out)),
            _ => {}
        }
    }
    let mut serialised = BTreeSet::new();
    let pairs = "[model]\nseq2seq = { width = 64, heads = 2, ffn = 128 }\n[data]\ntrain = [\"a.jsonl\"]\n";
    for recipe in [&recipe, &good(SMALL, &[]), &good(pairs, &[])] {
        keys(&toml::Value::try_from(recipe).unwrap(), "", &mut serialised);
    }
    table.retain(|key| !key.starts_with("then.data.hold_out"));
    assert_eq!(serialised, table);
}

#[test]
fn every_default_and_example_is_legal() {
    walk(&Recipe::SECTION, "", &mut |at, field, section| {
        let example: toml::Table =
            format!("v = {}", field.example).parse().unwrap_or_else(|e| panic!("{at}: {e}"));
        assert!(!example.is_empty());
        let default = (section.defaults)().get(field.name).cloned();
        match field.absent {
            Absent::Means(_) => {
                assert!(default.is_none(), "{at} says where it comes from, but has a default")
            }
            Absent::Default => assert!(default.is_some(), "{at} has no default"),
            Absent::Required => {}
        }
        for text in [field.doc.en, field.doc.zh] {
            assert!(text.ends_with(['.', '。']), "{at}: {text}");
        }
        assert!(field.doc.en.is_ascii() || !field.doc.en.contains('。'), "{at}: Chinese in the English text");
        assert!(!field.doc.zh.is_ascii(), "{at}: no Chinese");
    });
    // What the defaults hold passes the same checks as what a user writes.
    let defaults = toml::to_string(&good(SMALL, &[])).unwrap();
    assert_eq!(good(&defaults, &[]), good(SMALL, &[]));
}

#[test]
fn documents_name_every_key() {
    for lang in Lang::ALL {
        let (page, help) = (markdown(lang), help(lang, "").unwrap());
        let schema = json_schema(lang).to_string();
        walk(&Recipe::SECTION, "", &mut |at, field, _| {
            assert!(page.contains(&format!("| `{}` |", field.name)), "{at}");
            let once = super::docs::again(&at.replace("[]", ""));
            assert!(once || help.contains(at) && help.contains(field.doc.get(lang)), "{at}");
            assert!(schema.contains(&format!("\"{}\"", field.name)), "{at}");
        });
    }
    let rate = help(Lang::En, "train.rate").unwrap();
    assert!(rate.contains("Peak learning rate") && !rate.contains("train.batch"), "{rate}");
    assert!(help(Lang::En, "data.train.path").is_some());
    assert_eq!(help(Lang::En, "train.nothing"), None);
}

#[test]
fn names_of_other_tools_lead_to_keys_that_exist() {
    let mut known = BTreeSet::new();
    walk(&Recipe::SECTION, "", &mut |at, _, _| {
        known.insert(at.replace("[]", ""));
    });
    for (_, own) in ELSEWHERE {
        assert!(known.contains(*own), "{own}");
    }
}

#[test]
fn a_small_recipe_is_enough() {
    let recipe = good(SMALL, &[]);
    assert_eq!(recipe.name(), "desk");
    assert_eq!(recipe.run_dir(), Path::new("/w/runs/desk"));
    assert_eq!(recipe.data.train[0].path, Path::new("/w/recipes/data/train.jsonl"));
    let adapter = recipe.train.adapter.clone().unwrap();
    assert_eq!((adapter.rank, adapter.alpha(), adapter.modules().len()), (16, 32.0, 7));
    assert_eq!(recipe.eval.breadth, ["general-mini"]);

    let bare = SMALL.replace(r#"[{ path = "data/train.jsonl" }]"#, r#""data/train.jsonl""#);
    assert_eq!(good(&bare, &[]), recipe);
    assert_eq!(good(&format!("\u{feff}{SMALL}").replace('\n', "\r\n"), &[]), recipe);
}

#[test]
fn without_an_adapter_the_network_itself_is_trained() {
    let text = SMALL.replace("adapter", "freeze = ['embed', 'layers.0-5'] # adapter");
    let recipe = good(&text, &["train.recompute=true"]);
    assert!(recipe.train.adapter.is_none() && recipe.train.recompute);
    assert_eq!(recipe.train.freeze, ["embed", "layers.0-5"]);
    let run = derive(&recipe, &facts(1000, 50, 0), &BASE);
    assert_eq!((run.rate, run.micro_tokens), (5e-5, 512));
    assert!(run.values.iter().all(|v| v.key != "train.adapter.alpha"), "{:?}", run.values);
    let adapted = derive(&good(SMALL, &[]), &facts(1000, 50, 0), &BASE);
    assert!(adapted.checkpoint_every < run.checkpoint_every, "checkpoints of a network are large");
}

#[test]
fn a_base_is_there_or_it_is_born() {
    let born = SMALL.replace("base = \"smollm2-135m-instruct\"", "new = { depth = 3, text = [\"text.md\"] }");
    let recipe = good(&born, &[]);
    assert_eq!((recipe.model.name(), recipe.model.base.as_deref()), ("newborn", None));
    let new = recipe.model.new.clone().unwrap();
    assert_eq!((new.depth, new.text[0].as_str()), (3, "/w/recipes/text.md"));
    // the lock file is a recipe too
    assert_eq!(good(&toml::to_string(&recipe).unwrap(), &[]), recipe);
    let said = refusal(&born, &["model.base=\"x\""]);
    assert!(said.contains("model.base") && said.contains("model.new"), "{said}");
    let said = refusal(&born.replace(", text = [\"text.md\"]", ""), &[]);
    assert!(said.contains("`model.new.text` is missing"), "{said}");
}

#[test]
fn slips_are_refused_with_line_and_hint() {
    let check = |text: &str, wants: &[&str]| {
        let said = refusal(text, &[]);
        for want in wants {
            assert!(said.contains(want), "{said}\n  lacks: {want}");
        }
    };
    let with = |extra: &str| format!("{SMALL}{extra}\n"); // lands in [train], line 8
    check(
        &with("epoch = 3"),
        &["recipes/desk.toml:8:1", "`train.epoch`", "Did you mean `train.epochs`?", "rate, batch"],
    );
    check(&with("learning_rate = 3"), &["Did you mean `train.rate`?"]);
    check(&with("over_long = 'cut'"), &["Did you mean `data.over_long`?"]);
    check(&with("[modle]\nbase = 'x'"), &[":8:", "unknown key `modle`", "`model`", "run, model, data"]);
    check(&with("temperature_of_the_room = 3"), &["unknown key", "method, adapter"]);
    check(&with("rate = 'high'"), &[":8:", "`train.rate` must be a number", "\"high\""]);
    check(&with("rate = 0"), &["above 0"]);
    check(&with("rate = nan"), &["above 0"]);
    check(&with("batch = 0"), &["from 1"]);
    check(&with("batch = 1.5"), &["whole number"]);
    check(&with("seed = 99999999999999999999"), &["`train.seed` must be a whole number"]);
    check(&with("seed = 2026-11-23"), &["`train.seed` must be a whole number"]);
    check(&with("effort = 'quik'"), &["Did you mean \"quick\"?", "quick, normal, thorough"]);
    check(&with("method = 'grpo'"), &["`train.rewards` is missing", "number"]);
    check(
        &with("rewards = [{ kind = 'exact' }]"),
        &["`train.rewards` and `train.method = \"sft\"`", "only grpo"],
    );
    let practise = |more: &str| with(&format!("method = 'grpo'\nrewards = [{{ kind = 'exact' }}]\n{more}"));
    check(&practise("neftune = 5.0"), &["train.neftune", "must be the one that answered"]);
    check(&practise("practice = { samples = 1 }"), &["train.practice.samples", "at least 2"]);
    check(&practise("practice = { loss = 'gprpo' }"), &["grpo"]);
    check(&with("[export]\nformats = ['peft', 'gguf']"), &["`export.formats[1]`", "not in this version"]);
    check(&with("[run]\nname = '../up'"), &["name without slashes"]);
    check(&with("rate = = 3"), &[":8:8", "not TOML"]);
    check(&with("rate = 1e-3\nrate = 1e-4"), &[":9:", "not TOML"]);
    check(&SMALL.replace("base", "# base"), &["`model.base` is missing", "For example: base = "]);
    check(&SMALL.replace("smollm2-135m-instruct", ""), &["`model.base`", "not empty"]);
    check(
        &with("freeze = 'embed'"),
        &["`train.freeze` and `train.adapter` do not go together", "frozen anyway"],
    );
    check(&SMALL.replace(r#"{ path = "data/train.jsonl" }"#, ""), &["`data.train` is missing"]);
    check(&SMALL.replace("path", "paht"), &[":5:12", "`data.train[0].paht`", "`data.train[0].path`"]);
    check("", &["`model` is missing"]);
    check(&format!("a{} = 1", "[".repeat(100_000)), &["not TOML"]);
    check(&format!("a = {}", "[".repeat(100_000)), &["not TOML"]);
}

#[test]
fn overrides_win_and_are_recorded() {
    let recipe = good(
        SMALL,
        &[
            "train.effort=quick",
            "train.rate = 2e-3",
            "run.name=2024",
            "train.adapter.rank=8",
            "train.adapter.targets=q_proj",
            "data.train=sets/a.csv",
            "data.train[1]={path='b.csv', kind='label'}",
            "data.train.1.answer=category",
            "eval.depth.0.path=/exam.csv",
            "data.system=You are kind: 2+2=4",
            "eval.breadth=[]",
        ],
    );
    assert_eq!(recipe.train.effort, Effort::Quick);
    assert_eq!(recipe.train.rate, Some(2e-3));
    assert_eq!(recipe.name(), "2024");
    assert_eq!(recipe.train.adapter.as_ref().unwrap().modules(), ["q_proj"]);
    assert_eq!(recipe.data.train[0].path, Path::new("/w/sets/a.csv")); // typed in /w, so it starts there
    assert_eq!(recipe.data.train[1].path, Path::new("/w/b.csv"));
    assert_eq!(recipe.data.train[1].answer.as_deref(), Some("category"));
    assert_eq!(recipe.eval.depth[0].path, Path::new("/exam.csv"));
    assert_eq!(recipe.data.system.as_deref(), Some("You are kind: 2+2=4"));
    assert!(recipe.eval.breadth.is_empty());

    let loaded = parse(SMALL, &["train.rate = 2e-3"]).unwrap();
    assert_eq!(loaded.overrides, [Override { key: "train.rate".into(), value: "2e-3".into() }]);

    let check = |set: &str, want: &str| {
        let said = refusal(SMALL, &[set]);
        assert!(said.contains("--set") && said.contains(want), "{said}\n  lacks: {want}");
    };
    check("train.rat=1", "Did you mean `train.rate`?");
    check("train.rate", "key=value");
    check("=1", "is not a key");
    check("train.rate=fast", "must be a number");
    check("train.rate=1\nseed=2", "must be a number");
    check("data.train.path=x", "data.train[0]");
    check("data.train[7].path=x", "no such place");
    check("train.seed.x=1", "nothing inside");
    check("data.train=[{paht='x'}]", "`data.train[0].path`");
    check("export.formats=['hf']", "not in this version");
}

#[test]
fn pairs_refuse_what_their_exam_would_pass_over() {
    let with =
        |rest: &str| format!("[model]\nseq2seq = {{ depth = 1 }}\n[data]\ntrain = ['a.jsonl']\n{rest}");
    let check = |rest: &str, key: &str| {
        let error = refusal(&with(rest), &[]);
        assert!(error.contains(key) && error.contains("model.seq2seq"), "{rest}: {error}");
    };
    for (more, key) in [
        ("score = 'contains'", "score"),
        ("max_tokens = 9", "max_tokens"),
        ("kind = 'choice'", "kind"),
        ("kind = 'perplexity'", "kind"),
        ("system = 's'", "system"),
        ("ask = 'plain'", "ask"),
        ("pick = 'likelihood'", "pick"),
        ("shots = 2, shots_from = 'b.jsonl'", "shots"),
    ] {
        check(
            &format!("[eval]\ndepth = [{{ path = 'exam.jsonl', {more} }}]"),
            &format!("eval.depth[0].{key}"),
        );
    }
    check("hold_out = { score = 'token_f1' }", "data.hold_out.score");
    check("[eval]\nseeds = 2", "eval.seeds");
    check("[eval]\nbreadth = ['general-prompts']", "eval.breadth");
    check("[eval]\nbreadth_exams = ['b.jsonl']", "eval.breadth_exams");
    check("[train.samples]\nprompts = ['ka lo']", "train.samples.prompts");
    check("[train]\nkeep = { strength = 1 }", "train.keep");
    let fine =
        "[eval]\nbreadth = []\ndepth = [{ path = 'e.jsonl', kind = 'free', items = 9, stratified = false }]";
    assert_eq!(good(&with(fine), &[]).eval.depth[0].items, Some(9));
}

#[test]
fn exams_get_names_of_their_own() {
    let text =
        format!("{SMALL}[eval]\ndepth = ['a/exam.csv', 'b/exam.csv', {{ path = 'c', name = 'exam' }}]");
    let names: Vec<_> = good(&text, &[]).eval.depth.into_iter().filter_map(|exam| exam.name).collect();
    assert_eq!(names, ["exam", "exam-2", "exam-3"]);
}

fn facts(train_examples: usize, tokens_each: usize, exam: usize) -> DataFacts {
    let train_tokens = train_examples * tokens_each;
    DataFacts {
        train_examples,
        train_tokens,
        longest_tokens: 2 * tokens_each,
        exam_items: vec![exam],
        ..Default::default()
    }
}

const BASE: BaseFacts = BaseFacts { params: 134_515_008, context: 8192 };

#[test]
fn the_dial_derives_a_run() {
    let exam = format!("{SMALL}[eval]\ndepth = 'exam.csv'");
    let run = |effort: &str, data: &DataFacts| {
        derive(&good(&exam, &[&format!("train.effort={effort}")]), data, &BASE)
    };
    let banking = facts(10_000, 50, 1540);

    let quick = run("quick", &banking);
    assert_eq!((quick.epochs, quick.steps, quick.batch, quick.rate), (0.36, 225, 16, 1e-3));
    assert_eq!(quick.exams[0], ExamPlan { name: "exam".into(), items: 400, of: 1540, stratified: true });
    assert_eq!(quick.warmup_steps, 11);
    let normal = run("normal", &banking);
    assert_eq!((normal.epochs, normal.steps, normal.exams[0].items), (1.4, 875, 1540));
    let thorough = run("thorough", &banking);
    assert_eq!((thorough.epochs, thorough.steps), (3.0, 1875));

    // Little data: no more than the dial's passes, and batches small enough for some steps.
    let tiny = run("quick", &facts(40, 50, 10));
    assert_eq!((tiny.epochs, tiny.batch, tiny.steps, tiny.exams[0].items), (4.0, 4, 40, 10));
    // Nothing at all still gives numbers; the data stage has refused it before.
    let none = run("quick", &DataFacts::default());
    assert!(none.steps == 1 && none.epochs.is_finite());

    for resolved in [quick, normal, thorough, tiny, none] {
        for value in &resolved.values {
            assert!(!value.reason.en.is_empty() && !value.reason.zh.is_ascii(), "{value:?}");
            assert!(!value.value.contains("NaN") && !value.reason.en.contains("NaN"), "{value:?}");
        }
    }
}

#[test]
fn what_the_recipe_gives_stands() {
    let recipe =
        good(SMALL, &["train.epochs=2", "train.batch=3", "train.schedule=linear", "train.max_len=100"]);
    let run = derive(&recipe, &facts(10, 50, 0), &BASE);
    assert_eq!(
        (run.epochs, run.batch, run.steps, run.schedule, run.max_len),
        (2.0, 3, 7, Schedule::Linear, 100)
    );
    let given: Vec<_> =
        run.values.iter().filter(|value| value.given).map(|value| value.key.as_str()).collect();
    assert_eq!(given, ["train.epochs", "train.batch", "train.schedule", "train.max_len"]);
}

#[test]
fn the_lock_is_a_recipe_that_repeats_the_run() {
    let text = format!("{SMALL}[eval]\ndepth = 'exam.csv'");
    let loaded = parse(&text, &["train.effort=quick"]).unwrap();
    let data = facts(9_999, 53, 1540);
    let resolved = derive(&loaded.recipe, &data, &BASE);
    let first = resolved.values.clone();
    let input = |role: &str, path: &str| InputHash {
        role: role.into(),
        path: path.into(),
        sha256: "ab".into(),
        bytes: 1,
    };
    let told = |inputs| Lock {
        version: "0.1.0".into(),
        overrides: loaded.overrides.clone(),
        inputs,
        ..Lock::default()
    };
    let one =
        lock(&loaded.recipe, &resolved, told(vec![input("train", "/b"), input("depth", "/a")])).unwrap();
    let two =
        lock(&loaded.recipe, &resolved, told(vec![input("depth", "/a"), input("train", "/b")])).unwrap();
    assert_eq!(one, two, "the order of the inputs must not matter");

    let again =
        Recipe::parse(&one, Path::new("runs/desk/recipe.lock.toml"), &[], Path::new("/elsewhere")).unwrap();
    let told = again.lock.clone().expect("the lock table is read back");
    assert_eq!((told.version.as_str(), told.steps, told.overrides.len()), ("0.1.0", resolved.steps, 1));
    let repeat = derive(&again.recipe, &data, &BASE);
    assert_eq!(
        Resolved { values: Vec::new(), ..repeat.clone() },
        Resolved { values: Vec::new(), ..resolved }
    );
    assert_eq!(again.recipe, repeat.apply(&again.recipe), "nothing is left open");
    // what was derived keeps its reason, unless it is typed anew
    let mut told = repeat.clone();
    told.recall(&again);
    assert_eq!(told.values, first, "reasons and all");
    let typed = Recipe::parse(&one, Path::new("r.toml"), &["train.clip=1.0".into()], Path::new("/")).unwrap();
    let mut told = derive(&typed.recipe, &data, &BASE);
    told.recall(&typed);
    let given = |key: &str| told.values.iter().find(|v| v.key == key).unwrap().given;
    assert!(given("train.clip") && !given("train.rate"));
    assert_eq!(again.recipe.data, loaded.recipe.data, "paths stay where they were");
}

#[test]
fn a_moved_run_is_where_its_lock_file_is() {
    let loaded = parse(SMALL, &["run.dir=/old/place"]).unwrap();
    let resolved = derive(&loaded.recipe, &facts(10, 50, 0), &BASE);
    let text = lock(&loaded.recipe, &resolved, Lock::default()).unwrap();
    assert!(!text.contains("/old/place"), "{text}");
    let home = tempfile::tempdir().unwrap();
    let folder = home.path().join("moved");
    std::fs::create_dir(&folder).unwrap();
    let file = folder.join("recipe.lock.toml");
    std::fs::write(&file, text).unwrap();
    let at = |sets: &[&str]| {
        let sets: Vec<String> = sets.iter().map(ToString::to_string).collect();
        Recipe::load(&file, &sets, Path::new("/elsewhere")).unwrap().recipe.run_dir()
    };
    // the lock file alone is a recipe; in a run's folder it is that run
    assert_eq!(at(&[]).parent(), Some(Path::new("/elsewhere/runs")));
    std::fs::write(folder.join(TAKEN), "").unwrap();
    assert_eq!(at(&[]), folder);
    assert_eq!(at(&["run.name=again"]), home.path().join("again"));
    assert_eq!(at(&["run.dir=/there"]), Path::new("/there/moved"));
}

#[test]
fn further_stages_take_over_what_they_share_and_nothing_else() {
    let then = "[[then]]\nname = \"manner\"\ndata = { train = [\"pairs.jsonl\"], user = \"Q: {text}\" }\ntrain = { method = \"dpo\" }\n\
                [[then]]\ndata = { train = [\"more.jsonl\"] }\ntrain = { effort = \"quick\", adapter = { rank = 4 } }\n";
    let text = SMALL.replace("[train]", "system = \"Be short.\"\n[train]\nepochs = 3\nseed = 7\nrate = 1e-3")
        + "keep = { share = 0 }\n"
        + then;
    let recipe = good(&text, &["then[1].train.seed=9"]);
    let [first, second, third] = &recipe.stages()[..] else { panic!("three stages") };
    assert_eq!([first, second, third].map(Recipe::name), ["01-sft", "02-manner", "03-sft"]);
    assert_eq!(second.run_dir(), Path::new("/w/runs/desk/stages/02-manner"));
    // an adapter is merged before it is taught on
    assert_eq!(second.model.base.as_deref(), Some("../01-sft/merged"));
    assert_eq!(third.model.base.as_deref(), Some("../02-manner/merged"));
    assert_eq!(second.data.system.as_deref(), Some("Be short."));
    assert_eq!(second.data.user.as_deref(), Some("Q: {text}"));
    assert_eq!((second.train.seed, third.train.seed), (7, 9));
    assert_eq!(second.train.adapter, first.train.adapter);
    assert_eq!(third.train.adapter.as_ref().map(|a| a.rank), Some(4));
    assert_eq!((second.train.keep.share, third.train.effort), (0.0, Effort::Quick));
    // what suits one method says nothing of another
    assert_eq!((second.train.epochs, second.train.rate), (None, None));
    assert_eq!(good(SMALL, &[]).stages(), [good(SMALL, &[])]);

    // the lock file says the same again, derived values with it
    let facts =
        || DataFacts { train_examples: 100, train_tokens: 5000, longest_tokens: 60, ..DataFacts::default() };
    let base = BaseFacts { params: 135_000_000, context: 2048 };
    let resolved: Vec<Resolved> = recipe.stages().iter().map(|r| derive(r, &facts(), &base)).collect();
    let locked = lock_stages(&recipe, &resolved.iter().collect::<Vec<_>>(), Lock::default()).unwrap();
    let again =
        Recipe::parse(&locked, Path::new("runs/desk/recipe.lock.toml"), &[], Path::new("/w")).unwrap();
    for ((own, stage), resolved) in again.stages().iter().zip(recipe.stages()).zip(&resolved) {
        assert_eq!(own.recipe.train, resolved.apply(&stage).train);
        let mut back = derive(&own.recipe, &facts(), &base);
        back.recall(own);
        assert_eq!(back.values, resolved.values);
    }
    // a recipe of one stage says nothing of others
    let one = derive(&good(SMALL, &[]), &facts(), &base);
    assert!(!lock(&good(SMALL, &[]), &one, Lock::default()).unwrap().contains("then"));
}

#[test]
fn graded_exams_are_promised_no_gain_of_right_answers() {
    let why = |score: &str| {
        let text = format!("{SMALL}[eval]\ndepth = [{{ path = 'e.jsonl', score = '{score}' }}]");
        let derived = derive(&good(&text, &[]), &facts(1000, 50, 400), &BASE);
        let items = derived.values.into_iter().find(|v| v.key == "eval.depth[0].items").unwrap();
        items.reason.en
    };
    let (exact, graded) = (why("exact"), why("chrf"));
    assert!(exact.contains("an accuracy is known") && exact.contains("; a gain of"), "{exact}");
    assert!(graded.contains("a mean score is known") && !graded.contains("gain"), "{graded}");
}

#[test]
fn further_stages_that_cannot_be_are_refused() {
    let with = |then: &str| refusal(&format!("{SMALL}[[then]]\n{then}"), &[]);
    let no_books = with("train = { method = \"dpo\" }");
    assert!(no_books.contains("then[0].data"), "{no_books}");
    let rules = with("data = { train = [\"a.jsonl\"] }\ntrain = { method = \"grpo\" }");
    assert!(rules.contains("then[0].train.rewards"), "{rules}");
    let held = with("data = { train = [\"a.jsonl\"], hold_out = { share = 0.1 } }");
    assert!(held.contains("then[0].data.hold_out"), "{held}");
    let word = with("data = { train = [\"a.jsonl\"] }\ntrain = { metod = \"dpo\" }");
    assert!(word.contains("then[0].train.metod") && word.contains("method"), "{word}");
    let name = with("name = \"a/b\"\ndata = { train = [\"a.jsonl\"] }");
    assert!(name.contains("then[0].name"), "{name}");
}
