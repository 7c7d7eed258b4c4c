//! `nurture keys`: who may use the service, and how much.

use anyhow::bail;
use nurture::lang::{Lang, Text};
use nurture::say;
use nurture::serve::store::{KeyLimits, KeyRecord, Store};

use super::args::{Arg, Args};
use super::output::table;
use super::serve::{STORE, store_path};
use super::{Cli, Command, Exit, WrongUse};

/// Who does it, in the audit.
pub(crate) const ACTOR: &str = "command line";

const DAY: i64 = 86_400;

pub(crate) const COMMAND: Command = Command {
    name: "keys",
    about: Text::new("Add, list and take back keys of the service", "添加、列出和收回服务的密钥"),
    more: Text::new(
        "`add NAME` shows the new key once; the store keeps only its hash. `limit NAME` sets anew what a key may use,\n\
         `revoke NAME` takes it back: a service that runs learns of it within seconds. As soon as there is a key\n\
         nobody comes in without one.\n\
         Examples:\n  nurture keys add support-team --per-minute 60 --tokens-per-day 200000\n  \
         nurture keys add boss --admin\n  nurture keys list\n  nurture keys revoke support-team",
        "`add 名字` 只显示一次新密钥，库中只存散列。`limit 名字` 重新设定限额，`revoke 名字` 收回密钥，\n\
         正在运行的服务几秒内就会知道。只要有了一个密钥，没有密钥的人就进不来。\n\
         例：\n  nurture keys add support-team --per-minute 60 --tokens-per-day 200000\n  \
         nurture keys add boss --admin\n  nurture keys list\n  nurture keys revoke support-team",
    ),
    args: &[
        Arg::place("WHAT", Text::new("add, list, limit or revoke", "add、list、limit 或 revoke"))
            .needed()
            .of(&["add", "list", "limit", "revoke"]),
        Arg::place(
            "NAME",
            Text::new(
                "With `add`: whose key it is; otherwise the key's name or id",
                "用于 `add` 时为密钥归谁；否则为密钥的名字或编号",
            ),
        ),
        Arg::switch(
            "admin",
            Text::new(
                "With `add`: it may load adapters and manage keys",
                "用于 `add`：可加载适配器、管理密钥",
            ),
        ),
        Arg::count("per-minute", 1, Text::new("Most requests in a minute", "每分钟最多请求数")),
        Arg::count(
            "tokens-per-day",
            1,
            Text::new(
                "Most tokens in a day (UTC), prompts and answers",
                "每天（UTC）最多词元数，提示与回答合计",
            ),
        ),
        Arg::count("at-once", 1, Text::new("Most answers at the same time", "同时进行的回答数上限")),
        Arg::count("days", 1, Text::new("With `add`: days until it ends", "用于 `add`：有效天数")),
        STORE,
    ],
    run,
};

fn run(cli: &Cli, args: Args<'_>) -> anyhow::Result<Exit> {
    let lang = cli.lang;
    let what = args.text("WHAT").unwrap_or_default();
    let name = || {
        args.text("NAME")
            .ok_or_else(|| WrongUse(say!(lang, "`keys {what}` needs a NAME", "`keys {what}` 需要写出 NAME")))
    };
    let few = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
    let limits = KeyLimits {
        requests_per_minute: args.count("per-minute").map(few),
        tokens_per_day: args.count("tokens-per-day").map(|n| n as u64),
        parallel: args.count("at-once").map(few),
    };
    if what == "list" && args.text("NAME").is_some() {
        return Err(WrongUse(lang.pick("`keys list` takes no NAME", "`keys list` 不需要 NAME").into()).into());
    }
    let store = Store::open(&store_path(cli, args)?)?;
    match what {
        "add" => {
            let days = args.count("days").map(|n| i64::try_from(n).unwrap_or(i64::MAX / DAY / 2));
            let expires = days.map(|d| super::store::now().saturating_add(d.saturating_mul(DAY)));
            let (key, record) = store.add_key(ACTOR, name()?, args.switch("admin"), limits, expires)?;
            cli.out.line(&key);
            let id = record.id;
            cli.out.note(&say!(
                lang,
                "this is the only time that the key is shown; its id is {id}",
                "密钥只显示这一次；其编号为 {id}"
            ));
        }
        "limit" => {
            let key = meant(cli, &store, name()?)?;
            store.limit_key(ACTOR, &key.id, limits)?;
            list(cli, store.keys()?.into_iter().filter(|k| k.id == key.id).collect(), &store)?;
        }
        "revoke" => {
            let KeyRecord { id, name, .. } = meant(cli, &store, name()?)?;
            store.revoke_key(ACTOR, &id)?;
            cli.out.note(&say!(lang, "taken back: {name} ({id})", "已收回：{name}（{id}）"));
        }
        _ => list(cli, store.keys()?, &store)?,
    }
    Ok(Exit::Done)
}

/// The key that an id or a name means: of several of one name the one that still opens.
pub(crate) fn meant(cli: &Cli, store: &Store, text: &str) -> anyhow::Result<KeyRecord> {
    let mut keys = store.keys()?;
    if let Some(at) = keys.iter().position(|k| k.id == text) {
        return Ok(keys.swap_remove(at));
    }
    keys.retain(|k| k.name == text);
    if keys.len() > 1 && keys.iter().any(|k| k.revoked.is_none()) {
        keys.retain(|k| k.revoked.is_none());
    }
    let ids: Vec<&str> = keys.iter().map(|k| k.id.as_str()).collect();
    let ids = ids.join(", ");
    match keys.len() {
        1 => Ok(keys.swap_remove(0)),
        0 => bail!(say!(
            cli.lang,
            "there is no key `{text}`; `nurture keys list` shows names and ids",
            "没有密钥 `{text}`；`nurture keys list` 列出名字和编号"
        )),
        n => bail!(say!(
            cli.lang,
            "{n} keys are called `{text}`: say which by its id ({ids})",
            "有 {n} 个密钥名为 `{text}`：请用编号指明（{ids}）"
        )),
    }
}

fn list(cli: &Cli, keys: Vec<KeyRecord>, store: &Store) -> anyhow::Result<()> {
    let lang = cli.lang;
    let head = match lang {
        Lang::En => ["id", "name", "state", "per minute", "tokens/day", "at once", "used today"],
        Lang::Zh => ["编号", "名字", "状态", "每分钟", "词元/天", "同时", "今日已用"],
    };
    let mut rows = vec![head.map(String::from).to_vec()];
    let or_dash = |n: Option<u64>| n.map_or("-".to_string(), |n| n.to_string());
    for key in keys {
        let state = match (key.revoked, key.opens(super::store::now()), key.admin) {
            (Some(_), ..) => lang.pick("revoked", "已收回"),
            (None, false, _) => lang.pick("expired", "已过期"),
            (None, true, true) => lang.pick("admin", "管理员"),
            (None, true, false) => lang.pick("in use", "有效"),
        };
        let used = store.used(key.number, 1)?.tokens();
        rows.push(vec![
            key.id,
            key.name,
            state.to_string(),
            or_dash(key.limits.requests_per_minute.map(u64::from)),
            or_dash(key.limits.tokens_per_day),
            or_dash(key.limits.parallel.map(u64::from)),
            used.to_string(),
        ]);
    }
    if rows.len() == 1 {
        cli.out.note(lang.pick("there is no key in the store", "库中没有密钥"));
        return Ok(());
    }
    cli.out.piece(&table(&rows, &[3, 4, 5, 6]));
    Ok(())
}
