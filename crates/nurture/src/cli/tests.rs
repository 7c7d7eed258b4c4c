//! The command line as a whole: frozen list of flags, both languages, examples that parse.

use std::collections::BTreeSet;

use nurture::lang::Lang;

use super::args::{self, COMMON, Value};
use super::{COMMANDS, Cli, Command, Interrupt, Output};

/// All flags. A new one is added here knowingly: knobs live in the recipe.
const FROZEN: &[(&str, &str)] = &[
    ("run", "RECIPE! --set* --fresh"),
    ("prepare", "RECIPE! --set* --show --out --no-tokens"),
    ("train", "RECIPE! --set* --fresh"),
    ("eval", "RECIPE! RUN* --set*"),
    ("report", "RUN! --public --to"),
    ("watch", "RUN! --once"),
    (
        "chat",
        "MODEL! --adapter --system --temperature --top-p --top-k --min-p --repeat-penalty --presence-penalty --frequency-penalty --logit-bias* --stop* --seed --max-tokens --context --exact --draft-from* --no-drafts --threads --template",
    ),
    (
        "generate",
        "MODEL! --prompt! --raw --json --schema --regex --grammar --adapter --system --temperature --top-p --top-k --min-p --repeat-penalty --presence-penalty --frequency-penalty --logit-bias* --stop* --logprobs --prompt-logprobs --seed --max-tokens --context --exact --draft-from* --no-drafts --threads --template",
    ),
    (
        "serve",
        "--model --adapter* --run* --runs --name --host --port --api-key --admin-key --allow-host* --cache-tokens --context --parallel --queue --rule-memory --timeout --drain --tls-cert --tls-key --no-drafts --store --no-store --exact --threads --template",
    ),
    ("keys", "WHAT! NAME --admin --per-minute --tokens-per-day --at-once --days --store"),
    ("store", "WHAT! VALUE --owner --all --store"),
    ("data", "WHAT! OUT! --model* --force --store"),
    (
        "embed",
        "MODEL! FILE! --field --query --top --pooling --out --force --adapter --context --exact --threads --template",
    ),
    (
        "translate",
        "FILE! --model --url --name --key --to --from --back --field* --least --out --beams --force --threads",
    ),
    ("export", "MODEL! OUT! --to! --adapter --type --dialect --shard --verify --force --threads --template"),
    ("quantize", "MODEL! OUT! --type! --force --threads --template"),
    ("pull", "NAME! --verify"),
    ("list", ""),
    ("show", "WHAT! FILE --model --n --json --set* --template"),
    (
        "bench",
        "WHAT! --model --prompt --gen --mode --parallel --adapters --kv --method --optimiser --recompute --rank --batch --micro --seq --repeat --quick --threads --isa --json",
    ),
    ("doctor", "--network"),
    ("help", "TOPIC KEY"),
];

fn flags(command: &Command) -> String {
    let word = |a: &args::Arg| {
        let dashes = if a.positional { "" } else { "--" };
        let mark = if a.needed { "!" } else { "" };
        format!("{dashes}{}{mark}{}", a.name, if a.many { "*" } else { "" })
    };
    command.args.iter().map(word).collect::<Vec<_>>().join(" ")
}

#[test]
fn the_list_of_flags_changes_only_on_purpose() {
    let found: Vec<(&str, String)> = COMMANDS.iter().map(|c| (c.name, flags(c))).collect();
    let frozen: Vec<(&str, String)> = FROZEN.iter().map(|(n, f)| (*n, f.to_string())).collect();
    assert_eq!(found, frozen);
    assert_eq!(COMMON.iter().map(|a| a.name).collect::<Vec<_>>(), ["lang"]);
}

#[test]
fn every_text_is_there_in_both_languages() {
    let chinese = |text: &str| text.chars().any(|c| ('\u{4e00}'..='\u{9fff}').contains(&c));
    for command in COMMANDS {
        let texts = command.args.iter().chain(COMMON).map(|a| (a.name, a.doc));
        for (name, text) in texts.chain([("about", command.about)]) {
            assert!(!text.en.is_empty() && !chinese(text.en), "{} {name}", command.name);
            assert!(chinese(text.zh), "{} {name}", command.name);
        }
        assert_eq!(command.more.en.is_empty(), command.more.zh.is_empty(), "{}", command.name);
    }
}

#[test]
fn the_table_is_sound_for_the_parser() {
    for lang in Lang::ALL {
        args::build(lang).debug_assert();
        for command in COMMANDS {
            let help = args::help_of(lang, command.name).unwrap();
            for arg in command.args {
                assert!(help.contains(arg.name) && help.contains(arg.doc.get(lang)), "{help}");
            }
        }
    }
}

/// What the help tells people to type is understood.
#[test]
fn examples_of_the_help_parse() {
    let mut seen = BTreeSet::new();
    for text in COMMANDS.iter().flat_map(|c| [c.more.en, c.more.zh]) {
        for line in text.lines().map(str::trim).filter(|l| l.starts_with("nurture ")) {
            let mut inside = false;
            let words = line.split(|c: char| {
                inside ^= c == '"';
                c == ' ' && !inside
            });
            let words: Vec<&str> = words.map(|w| w.trim_matches('"')).collect();
            let parsed = args::build(Lang::En).try_get_matches_from(&words);
            assert!(parsed.is_ok(), "{line}: {:?}", parsed.err().map(|e| e.to_string()));
            seen.insert(words[1].to_string());
        }
    }
    assert!(seen.len() >= 5, "{seen:?}");
}

/// A typed value of every kind reaches its command, and the wrong ones are refused in the user's language.
#[test]
fn values_are_checked() {
    for command in COMMANDS {
        for arg in command.args.iter().filter(|a| !a.positional) {
            let bad = match arg.value {
                Value::Count(_) => "-1",
                Value::Number(..) => "nan",
                Value::Word(_) => "no-such-word",
                Value::Switch | Value::Text => continue,
            };
            let words = ["nurture", command.name, &format!("--{}={bad}", arg.name)].map(String::from);
            let error = args::build(Lang::Zh).try_get_matches_from(words).unwrap_err();
            let said = args::wrong_use(Lang::Zh, None, &error);
            assert!(said.contains(arg.name) && said.contains(bad), "{said}");
            assert!(said.contains("需要") || said.contains("不认识"), "{said}");
        }
    }
}

#[test]
fn the_language_is_known_before_anything_is_parsed() {
    let check = |words: &[&str], want: Option<Lang>| {
        let words: Vec<std::ffi::OsString> = words.iter().map(Into::into).collect();
        if let Some(want) = want {
            assert_eq!(super::language(&words), want, "{words:?}");
        }
    };
    check(&["nurture", "--lang", "zh", "list"], Some(Lang::Zh));
    check(&["nurture", "list", "--lang=zh"], Some(Lang::Zh));
    check(&["nurture", "list", "--lang=en"], Some(Lang::En));
}

/// Ctrl-C before work began does not stop the next work.
#[test]
fn work_begins_with_a_lowered_flag() {
    let cli = Cli { lang: Lang::En, out: Output::new(Lang::En, true), interrupt: Interrupt::default() };
    cli.interrupt.flag().store(true, std::sync::atomic::Ordering::SeqCst);
    let working = cli.interrupt.working();
    assert!(!cli.interrupt.raised());
    cli.interrupt.flag().store(true, std::sync::atomic::Ordering::SeqCst);
    drop(working);
    assert!(cli.interrupt.raised(), "whoever asks after the work still learns of it");
}
