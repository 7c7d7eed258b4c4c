//! `nurture serve`: an OpenAI-compatible API over one base and many adapters.

use std::io::Write as _;
use std::net::{IpAddr, SocketAddr, ToSocketAddrs as _};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{TrySendError, sync_channel};
use std::time::Duration;

use anyhow::{Context as _, bail};
use nurture::engine::{self, LoadOptions, Model};
use nurture::infer::engine::{EngineConfig, EngineHandle};
use nurture::lang::Text;
use nurture::say;
use nurture::serve::{Keys, LogSink, Manner, Parts, ServeConfig, Server, Service};
use nurture::workshop::Shop;
use serde_json::Value;

use super::args::{Arg, Args};
use super::chat;
use super::models::{self, Located};
use super::{Cli, Command, Exit, WrongUse, env};

/// Lines of the log that may wait for a slow reader; more are dropped and counted.
const LOG_LINES: usize = 4096;

pub(crate) const COMMAND: Command = Command {
    name: "serve",
    about: Text::new(
        "Serve a model over HTTP, with an OpenAI-compatible API",
        "通过 HTTP 提供模型服务，接口与 OpenAI 兼容",
    ),
    more: Text::new(
        "Any OpenAI client works: its base URL is http://127.0.0.1:8080/v1. Ctrl-C ends it when all requests have ended.\n\
         Keys: a file with a key a line, or the variables NURTURE_API_KEY and NURTURE_ADMIN_KEY.\n\
         Examples:\n  nurture serve --model smollm2-135m-instruct\n  \
         nurture serve --run runs/quickstart --run runs/other\n  \
         nurture serve --model base.gguf --adapter support=adapters/support --host 0.0.0.0 --api-key keys.txt",
        "任何 OpenAI 客户端都可使用：base URL 为 http://127.0.0.1:8080/v1。Ctrl-C 会等所有请求结束后再退出。\n\
         密钥：每行一个密钥的文件，或环境变量 NURTURE_API_KEY 与 NURTURE_ADMIN_KEY。\n\
         例：\n  nurture serve --model smollm2-135m-instruct\n  \
         nurture serve --run runs/quickstart --run runs/other\n  \
         nurture serve --model base.gguf --adapter support=adapters/support --host 0.0.0.0 --api-key keys.txt",
    ),
    args: &[
        Arg::text(
            "model",
            "MODEL",
            Text::new(
                "The base: a name of `nurture list`, a hub id, a file or a folder (otherwise the first run's base)",
                "基座：`nurture list` 里的名字、hub 标识、文件或目录（不写时用第一个运行的基座）",
            ),
        ),
        Arg::text(
            "adapter",
            "NAME=PATH",
            Text::new(
                "Serves the adapter in a folder under a name; may be repeated",
                "以给定名字提供某目录中的适配器；可重复",
            ),
        )
        .many(),
        Arg::text(
            "run",
            "RUN",
            Text::new(
                "Serves the result of a run under the name of its folder; may be repeated",
                "以目录名提供某次运行的结果；可重复",
            ),
        )
        .many(),
        Arg::text(
            "runs",
            "DIR",
            Text::new(
                "Shows the runs in a folder on the pages; whoever may can start, stop and resume them there",
                "在网页上显示某目录中的运行；有权限者可在网页上开始、停止和继续",
            ),
        ),
        Arg::text("name", "NAME", Text::new("The base's name in the API", "基座在接口中的名字")),
        Arg::text(
            "host",
            "ADDRESS",
            Text::new(
                "Where to listen (127.0.0.1); an address that others reach needs a key",
                "监听地址（127.0.0.1）；他人可访问的地址必须有密钥",
            ),
        ),
        Arg::count(
            "port",
            0,
            Text::new("Port (8080); 0 takes a free one", "端口（8080）；0 表示任取空闲端口"),
        ),
        Arg::text("api-key", "FILE", Text::new("File with the keys of clients", "客户端密钥文件")),
        Arg::text(
            "admin-key",
            "FILE",
            Text::new("File with the keys that may load and unload adapters", "可加载和卸载适配器的密钥文件"),
        ),
        Arg::text(
            "allow-host",
            "NAME",
            Text::new(
                "A host name under which clients reach it, beside localhost; may be repeated",
                "除 localhost 外客户端使用的主机名；可重复",
            ),
        )
        .many(),
        Arg::count(
            "cache-tokens",
            1,
            Text::new(
                "Tokens whose keys and values fit in memory, of all requests together (16384)",
                "所有请求合计可在内存中保存键和值的词元数（16384）",
            ),
        ),
        chat::CONTEXT,
        Arg::count(
            "parallel",
            1,
            Text::new("Most requests that run at once (64)", "同时运行的请求数上限（64）"),
        ),
        Arg::count(
            "queue",
            1,
            Text::new(
                "Most requests that wait; more are refused with 429 (256)",
                "排队的请求数上限，超出者以 429 拒绝（256）",
            ),
        ),
        Arg::count(
            "rule-memory",
            1,
            Text::new(
                "Megabytes that the schemas and forced tools of all requests may take together; beyond that 503 (256)",
                "所有请求的 schema 和强制工具合计可占的内存（MB），超出者以 503 拒绝（256）",
            ),
        ),
        Arg::count(
            "timeout",
            1,
            Text::new("Longest time of a request in seconds (600)", "单个请求的最长秒数（600）"),
        ),
        Arg::count(
            "drain",
            0,
            Text::new("Seconds that requests get to end on Ctrl-C (30)", "Ctrl-C 后留给请求结束的秒数（30）"),
        ),
        Arg::text(
            "tls-cert",
            "FILE",
            Text::new(
                "Certificate chain in PEM: speaks HTTPS; needs --tls-key",
                "PEM 证书链：以 HTTPS 提供服务；须同时给 --tls-key",
            ),
        ),
        Arg::text("tls-key", "FILE", Text::new("The certificate's private key in PEM", "证书的 PEM 私钥")),
        chat::NO_DRAFTS,
        STORE,
        Arg::switch(
            "no-store",
            Text::new("Keeps no conversations, feedback, responses or keys", "不保存对话、反馈、响应和密钥"),
        ),
        chat::EXACT,
        models::THREADS,
        models::TEMPLATE,
    ],
    run,
};

/// Where the service keeps what it remembers.
pub(crate) const STORE: Arg = Arg::text(
    "store",
    "FILE",
    Text::new(
        "The service's store: conversations, feedback, keys (service.sqlite in NURTURE_HOME)",
        "服务库：对话、反馈、密钥（默认 NURTURE_HOME 下的 service.sqlite）",
    ),
);

/// The file of the service's store.
pub(crate) fn store_path(cli: &Cli, args: Args<'_>) -> anyhow::Result<PathBuf> {
    match args.text("store") {
        Some(file) => Ok(PathBuf::from(file)),
        None => Ok(cli.store()?.root().join(nurture::serve::store::FILE_NAME)),
    }
}

/// An adapter to be served.
struct Asked {
    name: String,
    dir: PathBuf,
}

fn run(cli: &Cli, args: Args<'_>) -> anyhow::Result<Exit> {
    let lang = cli.lang;
    let config = config(cli, args)?;
    let (base, name, adapters) = asked(cli, args)?;
    let store = match (args.switch("no-store"), args.text("store")) {
        (true, Some(_)) => {
            let text = cli
                .lang
                .pick("--store and --no-store exclude each other", "--store 与 --no-store 不能同时使用");
            return Err(WrongUse(text.to_string()).into());
        }
        (true, None) => None,
        (false, _) => Some(nurture::serve::store::Store::open(&store_path(cli, args)?)?),
    };
    let extra = engine::recorded(&base.path).unwrap_or(Value::Null);
    let options = LoadOptions {
        threads: args.count("threads").unwrap_or(0),
        template: args
            .text("template")
            .map(String::from)
            .or(base.entry.as_ref().and_then(|e| e.template.clone())),
        recorded_template: engine::recorded_template(&extra),
        today: Some(models::today()),
    };
    let model = Model::load(&base.path, &options)?;
    let grammars = model.grammars().ok();
    let (model, cpu, renderer) = model.into_parts();
    let context = args.count("context").unwrap_or_else(|| model.config().context.min(8192));
    let tokens = args.count("cache-tokens").unwrap_or(16 * 1024);
    let engine = EngineConfig {
        mode: chat::mode(args),
        tokens,
        context,
        running: args.count("parallel").unwrap_or(64),
        waiting: args.count("queue").unwrap_or(256),
        ..EngineConfig::default()
    };
    let engine = EngineHandle::start(model, cpu.clone(), engine)?;
    let manner = Manner { template: None, ..Manner::recorded(&extra) };
    let context = context.min(tokens);
    let service = Service::new(Parts {
        engine,
        cpu,
        name,
        renderer,
        manner,
        context,
        grammars,
        config,
        store,
        log: log(),
    });
    for Asked { name, dir } in &adapters {
        service.load_adapter(name, dir).with_context(|| format!("{name}={}", dir.display()))?;
    }
    let shop = match args.text("runs") {
        None => None,
        Some(dir) => {
            let program = std::env::current_exe().context("the path of this program")?;
            let cwd = std::env::current_dir().context("the current folder")?;
            let shop = std::sync::Arc::new(Shop::new(std::path::absolute(dir)?, program, cwd));
            service.open_workshop(shop.clone());
            Some(shop)
        }
    };
    let server = Server::bind(service.clone())?;
    let (address, names) = (server.address()?, service.model_names().join(", "));
    let scheme = if service.config().tls.is_some() { "https" } else { "http" };
    cli.out.note(&say!(
        lang,
        "serving {names} at {scheme}://{address} (pages: there; API: {scheme}://{address}/v1; Ctrl-C ends it)",
        "正在提供 {names}：{scheme}://{address}（网页即此地址；接口：{scheme}://{address}/v1；Ctrl-C 结束）"
    ));
    let _working = cli.interrupt.working();
    let served = server.run(|| cli.interrupt.raised());
    // runs that were begun on the pages stop at their next whole step, and go on another time
    if let Some(shop) = shop {
        shop.close();
    }
    served?;
    Ok(Exit::Done)
}

/// The base, its name, and the adapters on it.
fn asked(cli: &Cli, args: Args<'_>) -> anyhow::Result<(Located, String, Vec<Asked>)> {
    let mut adapters = Vec::new();
    for text in args.texts("adapter") {
        let Some((name, dir)) = text.split_once('=').filter(|(n, d)| !n.is_empty() && !d.is_empty()) else {
            let text = say!(
                cli.lang,
                "--adapter {text}: a name, = and a folder are needed, as in support=adapters/support",
                "--adapter {text}：应写作“名字=目录”，例如 support=adapters/support"
            );
            return Err(WrongUse(text).into());
        };
        adapters.push(Asked { name: name.to_string(), dir: models::run_folder(cli, dir)? });
    }
    let mut runs = args.texts("run");
    let mut model = args.text("model").map(String::from);
    // a run's folder as the model means its result beside its base
    if model.as_ref().is_some_and(|m| models::taught(Path::new(m)).is_some()) {
        runs.extend(model.take());
    }
    for text in runs {
        let dir = models::run_folder(cli, &text)?;
        let whole = std::path::absolute(&text)?;
        let name = whole.file_name().map_or(text.clone(), |n| n.to_string_lossy().into_owned());
        adapters.push(Asked { name, dir });
    }
    let base = match (&model, adapters.first()) {
        (Some(model), _) => match nurture::network::network_dir(Path::new(model)) {
            Some(path) => Located { path, sha256: None, entry: None },
            None => models::locate(cli, model)?,
        },
        (None, Some(first)) => {
            let extra = engine::recorded(&first.dir).unwrap_or(Value::Null);
            models::recorded_base(cli, &first.dir, &extra)?
        }
        (None, None) => {
            let text = cli.lang.pick(
                "what is to be served? Give --model MODEL or --run RUN",
                "要提供什么？请给出 --model 模型 或 --run 运行目录",
            );
            return Err(WrongUse(text.to_string()).into());
        }
    };
    for adapter in &adapters {
        let extra = engine::recorded(&adapter.dir).unwrap_or(Value::Null);
        models::warn_of_other_base(cli, &adapter.dir, &extra, &base)?;
    }
    let stem = || base.path.file_stem().map_or("base".into(), |s| s.to_string_lossy().into_owned());
    let catalogued = base.entry.as_ref().map(|e| e.name.clone());
    let name = args.text("name").map(String::from).or(catalogued).unwrap_or_else(stem);
    Ok((base, name, adapters))
}

fn config(cli: &Cli, args: Args<'_>) -> anyhow::Result<ServeConfig> {
    let host = args.text("host").unwrap_or("127.0.0.1");
    let port = args.count("port").unwrap_or(8080);
    let Ok(port) = u16::try_from(port) else {
        let text =
            say!(cli.lang, "--port {port}: a port is at most 65535", "--port {port}：端口最大为 65535");
        return Err(WrongUse(text).into());
    };
    let address = match host.parse::<IpAddr>() {
        Ok(ip) => SocketAddr::new(ip, port),
        Err(_) => match (host, port).to_socket_addrs().ok().and_then(|mut a| a.next()) {
            Some(address) => address,
            None => bail!(say!(cli.lang, "--host {host}: no such address", "--host {host}：没有这个地址")),
        },
    };
    let keys = |flag: &str, variable: &str| -> anyhow::Result<Keys> {
        match args.text(flag) {
            Some(file) => {
                let keys = Keys::parse(&std::fs::read_to_string(file).with_context(|| file.to_string())?);
                if keys.is_empty() {
                    bail!(say!(cli.lang, "{file}: has no key in it", "{file}：其中没有密钥"));
                }
                Ok(keys)
            }
            None => Ok(Keys::parse(&env(variable).unwrap_or_default())),
        }
    };
    let seconds = |name: &str, or: u64| Duration::from_secs(args.count(name).map_or(or, |n| n as u64));
    let tls = match (args.text("tls-cert"), args.text("tls-key")) {
        (Some(chain), Some(key)) => Some((PathBuf::from(chain), PathBuf::from(key))),
        (None, None) => None,
        _ => {
            let text =
                cli.lang.pick("--tls-cert and --tls-key go together", "--tls-cert 与 --tls-key 须同时给出");
            return Err(WrongUse(text.to_string()).into());
        }
    };
    let usual = ServeConfig::new(address);
    Ok(ServeConfig {
        tls,
        rules: args.count("rule-memory").map_or(usual.rules, |mb| mb.saturating_mul(1 << 20)),
        drafts: !args.switch("no-drafts"),
        keys: keys("api-key", "NURTURE_API_KEY")?,
        admin: keys("admin-key", "NURTURE_ADMIN_KEY")?,
        hosts: args.texts("allow-host"),
        timeout: seconds("timeout", 600),
        drain: seconds("drain", 30),
        ..usual
    })
}

/// The log goes to stderr as JSON lines, by a thread of its own: a reader that stops reading stops no request.
fn log() -> LogSink {
    let (sender, lines) = sync_channel::<String>(LOG_LINES);
    std::thread::spawn(move || {
        for line in lines {
            _ = std::io::stderr().write_all(line.as_bytes());
        }
    });
    let dropped = std::sync::atomic::AtomicU64::new(0);
    Box::new(move |object: &Value| {
        use std::sync::atomic::Ordering::Relaxed;
        let mut object = object.clone();
        let time = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
        object["time"] = time.map_or(0.0, |t| t.as_secs_f64()).into();
        match dropped.load(Relaxed) {
            0 => {}
            n => object["dropped_before"] = n.into(),
        }
        if let Err(TrySendError::Full(_)) = sender.try_send(format!("{object}\n")) {
            dropped.fetch_add(1, Relaxed);
        }
    })
}
