//! `nurture store`: copies, forgetting, and what administrators did.

use std::path::Path;

use nurture::date;
use nurture::lang::Text;
use nurture::say;
use nurture::serve::store::{Scope, Store};

use super::args::{Arg, Args};
use super::keys::ACTOR;
use super::output::table;
use super::serve::{STORE, store_path};
use super::{Cli, Command, Exit, WrongUse};

/// Whether an owner has no key in the store: nobody (no key was needed), the administrator's file, other files, keys that are gone.
fn keyless(owner: &str) -> bool {
    let digits = |rest: &str, ok: fn(&u8) -> bool| !rest.is_empty() && rest.as_bytes().iter().all(ok);
    let file = |rest: &str| rest.len() == 16 && digits(rest, u8::is_ascii_hexdigit);
    matches!(owner, "" | "admin")
        || owner.strip_prefix("file-").is_some_and(file)
        || owner.strip_prefix("gone-").is_some_and(|rest| digits(rest, u8::is_ascii_digit))
}

/// Entries of the audit that are shown.
const ENTRIES: usize = 200;

pub(crate) const COMMAND: Command = Command {
    name: "store",
    about: Text::new(
        "Back up the service's store, erase texts from it, set how long they stay",
        "备份服务库、擦除其中的文本、设定保留多久",
    ),
    more: Text::new(
        "`backup FILE` writes a whole copy while the service runs. `erase --owner NAME` erases conversations, feedback\n\
         and responses of one key, `erase --all` those of everybody; this cannot be undone. `retention DAYS` erases what\n\
         did not change for so long (0: keep for ever), hourly while the service runs and now. `audit` shows who did what.\n\
         Examples:\n  nurture store backup nightly.sqlite\n  nurture store erase --owner support-team\n  \
         nurture store retention 90\n  nurture store audit",
        "`backup 文件` 在服务运行时写出完整副本。`erase --owner 名字` 擦除某个密钥的对话、反馈和响应，\n\
         `erase --all` 擦除所有人的；无法恢复。`retention 天数` 擦除这么久没有变动的内容（0：永久保留），\n\
         立即执行一次，服务运行时每小时一次。`audit` 显示谁做过什么。\n\
         例：\n  nurture store backup nightly.sqlite\n  nurture store erase --owner support-team\n  \
         nurture store retention 90\n  nurture store audit",
    ),
    args: &[
        Arg::place(
            "WHAT",
            Text::new("backup, erase, retention or audit", "backup、erase、retention 或 audit"),
        )
        .needed()
        .of(&["backup", "erase", "retention", "audit"]),
        Arg::place(
            "VALUE",
            Text::new(
                "With `backup` the file, with `retention` the days",
                "用于 `backup` 时为文件，用于 `retention` 时为天数",
            ),
        ),
        Arg::text(
            "owner",
            "NAME",
            Text::new("With `erase`: of which key, by name or id", "用于 `erase`：哪个密钥的，名字或编号"),
        ),
        Arg::switch("all", Text::new("With `erase`: of everybody", "用于 `erase`：所有人的")),
        STORE,
    ],
    run,
};

/// Seconds since 1970.
pub(crate) fn now() -> i64 {
    let time = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    time.map_or(0, |t| t.as_secs() as i64)
}

fn run(cli: &Cli, args: Args<'_>) -> anyhow::Result<Exit> {
    let lang = cli.lang;
    let what = args.text("WHAT").unwrap_or_default();
    let wrong = |text: &str| anyhow::Error::from(WrongUse(text.to_string()));
    let value = args.text("VALUE");
    let scope = match (args.text("owner"), args.switch("all")) {
        (Some(owner), false) => Some(Scope::Owner(owner)),
        (None, true) => Some(Scope::All),
        (None, false) => None,
        (Some(_), true) => {
            return Err(wrong(
                lang.pick("--owner and --all exclude each other", "--owner 与 --all 不能同时使用"),
            ));
        }
    };
    if scope.is_some() != (what == "erase") {
        return Err(wrong(lang.pick(
            "`store erase` needs --owner NAME or --all, and only that takes them",
            "`store erase` 需要 --owner 名字 或 --all，其他命令不用",
        )));
    }
    let path = store_path(cli, args)?;
    if !path.is_file() {
        let path = path.display();
        anyhow::bail!(say!(lang, "{path}: there is no store", "{path}：没有服务库"));
    }
    let store = Store::open(&path)?;
    match (what, value, scope) {
        ("backup", Some(file), _) => {
            store.backup(Path::new(file))?;
            cli.out.note(&say!(lang, "written: {file}", "已写出：{file}"));
        }
        ("retention", Some(days), _) => {
            let Ok(days) = days.parse::<u32>() else {
                return Err(wrong(&say!(lang, "`{days}`: whole days are needed", "`{days}`：应为整数天数")));
            };
            store.set_retention(ACTOR, (days > 0).then_some(days))?;
            let gone = store.retain()?.conversations;
            cli.out.note(&match days {
                0 => lang.pick("texts are kept for ever", "文本永久保留").to_string(),
                _ => say!(
                    lang,
                    "texts are kept for {days} days; {gone} conversations were older and are erased",
                    "文本保留 {days} 天；已擦除 {gone} 个更早的对话"
                ),
            });
        }
        ("retention", None, _) => cli.out.line(&match store.retention()? {
            None => lang.pick("texts are kept for ever", "文本永久保留").to_string(),
            Some(days) => say!(lang, "texts are kept for {days} days", "文本保留 {days} 天"),
        }),
        ("erase", None, Some(scope)) => {
            // who means somebody must not be told that nothing of theirs is there, because of a slip of the pen
            let id = match scope {
                Scope::Owner(text) => match super::keys::meant(cli, &store, text) {
                    Ok(key) => Some(key.id),
                    Err(_) if keyless(text) => None,
                    Err(e) => return Err(e),
                },
                _ => None,
            };
            let e = store.erase(ACTOR, id.as_deref().map_or(scope, Scope::Owner))?;
            let (c, f, r) = (e.conversations, e.feedback, e.responses);
            cli.out.note(&say!(
                lang,
                "erased: {c} conversations, {f} pieces of feedback, {r} responses",
                "已擦除：{c} 个对话、{f} 条反馈、{r} 个响应"
            ));
        }
        ("audit", None, _) => {
            let entries = store.audit(ENTRIES)?;
            let row = |e: nurture::serve::store::AuditEntry| {
                vec![date::utc(e.time.max(0) as u64), e.actor, e.action, e.object]
            };
            let rows: Vec<Vec<String>> = entries.into_iter().map(row).collect();
            cli.out.piece(&table(&rows, &[]));
        }
        ("backup", None, _) => {
            return Err(wrong(lang.pick("`store backup` needs a FILE", "`store backup` 需要文件名")));
        }
        _ => {
            let value = value.unwrap_or_default();
            return Err(wrong(&say!(
                lang,
                "`store {what}` takes nothing more, but got `{value}`",
                "`store {what}` 不需要更多参数，却得到 `{value}`"
            )));
        }
    }
    Ok(Exit::Done)
}
