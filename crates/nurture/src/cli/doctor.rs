//! `nurture doctor`: what this machine is, what works here, and what fits.

use std::net::{TcpStream, ToSocketAddrs};
use std::path::{Path, PathBuf};
use std::process::{Command as Child, Stdio};
use std::sync::mpsc::channel;
use std::time::Duration;

use nurture::formats::{ModelFile, TensorSource};
use nurture::hub::{self, Kind, PullOptions, State, Store};
use nurture::kernels::{Isa, isa};
use nurture::lang::Text;
use nurture::model::families;
use nurture::say;

use super::args::{Arg, Args};
use super::output::{size, table};
use super::{Cli, Command, Exit, bench, env, models};

pub(crate) const COMMAND: Command = Command {
    name: "doctor",
    about: Text::new("Check what this machine can do", "检查本机能做什么"),
    more: Text::new("Exit code 3 if something is in the way of work.", "有妨碍工作的问题时退出码为 3。"),
    args: &[Arg::switch(
        "network",
        Text::new("Also try to reach the sources of models", "同时尝试连接模型来源"),
    )],
    run,
};

struct Findings<'a> {
    cli: &'a Cli,
    rows: Vec<Vec<String>>,
    bad: usize,
}

impl Findings<'_> {
    fn row(&mut self, en: &str, zh: &str, value: String) {
        self.rows.push(vec![self.cli.lang.pick(en, zh).into(), value]);
    }

    /// A finding that is in the way of work.
    fn bad(&mut self, en: &str, zh: &str, value: String) {
        self.bad += 1;
        self.row(en, zh, format!("✗ {value}"));
    }
}

fn run(cli: &Cli, args: Args<'_>) -> anyhow::Result<Exit> {
    let lang = cli.lang;
    let _working = cli.interrupt.working();
    let mut f = Findings { cli, rows: Vec::new(), bad: 0 };
    let (os, arch) = (std::env::consts::OS, std::env::consts::ARCH);
    f.row("version", "版本", format!("nurture {} ({os} {arch})", env!("CARGO_PKG_VERSION")));
    let unknown = || lang.pick("unknown", "未知").to_string();
    f.row("processor", "处理器", cpu_name().unwrap_or_else(unknown));
    let cores = models::threads(0);
    f.row("cores", "核", say!(lang, "{cores} usable by this process", "本进程可用 {cores} 个"));
    match isa() {
        Isa::Scalar => f.bad(
            "instructions",
            "指令集",
            lang.pick(
                "neither AVX2 nor AVX-512: PORTABLE SCALAR KERNELS are used. Everything works and gives the same results, many times slower",
                "没有 AVX2 或 AVX-512：使用可移植的标量内核。一切可用、结果相同，但慢很多倍",
            )
            .into(),
        ),
        found => f.row("instructions", "指令集", found.name().into()),
    }
    let memory = memory();
    let shown = memory.map(|(total, free)| {
        let (total, free) = (size(total), size(free));
        say!(lang, "{free} free of {total}", "共 {total}，可用 {free}")
    });
    f.row("memory", "内存", shown.unwrap_or_else(unknown));
    store(&mut f)?;
    match pip() {
        Some(text) => f.row("pip", "pip", text),
        None => f.row(
            "pip",
            "pip",
            lang.pick("not found: packages cannot serve as a source", "未找到：不能用软件包作为来源").into(),
        ),
    }
    if args.switch("network") {
        network(&mut f);
    }
    let measured = bench::measure(cli, 0, 3, Duration::from_millis(50));
    let Some(measured) = measured else { return Ok(Exit::Interrupted) };
    let figure = |name: &str| measured.median(name).map_or_else(unknown, |x| format!("{x:.1}"));
    let (fma, int8, read) = (figure("f32_fma_gflops"), figure("int8_gops"), figure("read_gbps"));
    f.row(
        "arithmetic",
        "算力",
        say!(lang, "{fma} GFLOP/s f32, {int8} GOP/s int8", "f32 {fma} GFLOP/s，int8 {int8} GOP/s"),
    );
    f.row("reading", "读内存", say!(lang, "{read} GB/s", "{read} GB/s"));
    let Findings { rows, bad, .. } = f;
    cli.out.piece(&table(&rows, &[]));
    cli.out.line("");
    cli.out.piece(&fits(cli, memory.map(|m| m.1))?);
    if bad > 0 {
        cli.out.note(&say!(
            lang,
            "\n✗ marks what is in the way of work: {bad}",
            "\n✗ 为妨碍工作的问题：{bad} 项"
        ));
        return Ok(Exit::Negative);
    }
    Ok(Exit::Done)
}

fn store(f: &mut Findings<'_>) -> anyhow::Result<()> {
    let lang = f.cli.lang;
    let store = f.cli.store()?;
    let root = store.root().to_path_buf();
    let from = if env("NURTURE_HOME").is_some_and(|v| !v.is_empty()) {
        "NURTURE_HOME"
    } else {
        lang.pick("default", "默认")
    };
    f.row("store", "仓库", format!("{} ({from})", root.display()));
    match writable(&root) {
        Ok(()) => f.row("", "", lang.pick("can be written", "可写").into()),
        Err(e) => f.bad(
            "",
            "",
            say!(
                lang,
                "cannot be written: {e}; set NURTURE_HOME to another folder",
                "不可写：{e}；请把 NURTURE_HOME 设为别的目录"
            ),
        ),
    }
    let free = disk_free(&root).map(size).unwrap_or_else(|| "?".into());
    f.row("", "", say!(lang, "{free} free on its disk", "所在磁盘剩余 {free}"));
    Ok(())
}

/// The folder itself, or the nearest one above that exists.
fn existing(path: &Path) -> PathBuf {
    path.ancestors().find(|p| p.is_dir()).unwrap_or(Path::new(".")).to_path_buf()
}

fn writable(root: &Path) -> std::io::Result<()> {
    let probe = existing(root).join(format!(".nurture-probe-{}", std::process::id()));
    std::fs::File::options().write(true).create_new(true).open(&probe)?;
    std::fs::remove_file(probe)
}

/// Free bytes of the disk that holds `path`, as `df` tells them: the standard library has no way to ask.
fn disk_free(path: &Path) -> Option<u64> {
    let out = Child::new("df").arg("-Pk").arg(existing(path)).stderr(Stdio::null()).output().ok()?;
    let text = String::from_utf8(out.stdout).ok()?;
    text.lines().nth(1)?.split_whitespace().nth(3)?.parse::<u64>().ok().map(|kb| kb * 1024)
}

fn cpu_name() -> Option<String> {
    let info = std::fs::read_to_string("/proc/cpuinfo").ok()?;
    let line = info.lines().find(|l| l.starts_with("model name"))?;
    line.split_once(':').map(|(_, name)| name.trim().to_string())
}

/// All and free memory in bytes; a container's limit counts.
fn memory() -> Option<(u64, u64)> {
    let info = std::fs::read_to_string("/proc/meminfo").ok()?;
    let field = |name: &str| {
        let line = info.lines().find_map(|l| l.strip_prefix(name))?;
        line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok().map(|kb| kb * 1024)
    };
    let (total, free) = (field("MemTotal:")?, field("MemAvailable:")?);
    let read = |file: &str| -> Option<u64> {
        std::fs::read_to_string(Path::new("/sys/fs/cgroup").join(file)).ok()?.trim().parse().ok()
    };
    match (read("memory.max"), read("memory.current")) {
        (Some(limit), Some(used)) if limit < total => Some((limit, free.min(limit.saturating_sub(used)))),
        _ => Some((total, free)),
    }
}

/// The first pip that answers.
fn pip() -> Option<String> {
    let ways: [&[&str]; 4] = [&["pip"], &["pip3"], &["python3", "-m", "pip"], &["python", "-m", "pip"]];
    ways.iter().find_map(|way| {
        let (program, rest) = way.split_first()?;
        let out = Child::new(program).args(rest).arg("--version").stderr(Stdio::null()).output().ok()?;
        let text = String::from_utf8_lossy(&out.stdout);
        let version = text.split_whitespace().nth(1)?;
        out.status.success().then(|| format!("{} ({version})", way.join(" ")))
    })
}

fn network(f: &mut Findings<'_>) {
    let lang = f.cli.lang;
    let options = PullOptions::from_env(env);
    let proxied = options.proxy.as_ref().map(|p| p.url.clone());
    for (name, endpoint) in
        [("Hugging Face", &options.hf_endpoint), ("ModelScope", &options.modelscope_endpoint)]
    {
        let by_proxy = if proxied.is_some() { lang.pick(" (by the proxy)", "（经代理）") } else { "" };
        let answer = match reach(proxied.as_deref().unwrap_or(endpoint), options.reach_timeout) {
            Ok(()) => say!(lang, "can be reached{by_proxy}", "可以连上{by_proxy}"),
            Err(e) => say!(lang, "cannot be reached{by_proxy}: {e}", "连不上{by_proxy}：{e}"),
        };
        f.row(name, name, answer);
    }
}

/// Whether a connection to the host of an address opens. Looking up the name may hang longer than the time allowed, so
/// it is done on a thread that is left behind then.
fn reach(address: &str, time: Duration) -> Result<(), String> {
    let (scheme, rest) = address.split_once("://").unwrap_or(("https", address));
    let host = rest.split('/').next().unwrap_or(rest).rsplit('@').next().unwrap_or(rest).to_string();
    let port = if scheme == "http" { 80 } else { 443 };
    let (send, receive) = channel();
    std::thread::spawn(move || {
        let named = |h: &str| h.rsplit_once(':').is_some_and(|(_, port)| port.parse::<u16>().is_ok());
        let target = if named(&host) { host } else { format!("{host}:{port}") };
        let tried = target.to_socket_addrs().map_err(|e| e.to_string()).and_then(|mut found| {
            let place = found.next().ok_or_else(|| format!("{target}: no address"))?;
            TcpStream::connect_timeout(&place, time).map(|_| ()).map_err(|e| e.to_string())
        });
        let _ = send.send(tried);
    });
    receive.recv_timeout(time).unwrap_or_else(|_| Err(format!("no answer within {} s", time.as_secs())))
}

/// Which models of the store can be trained in the free memory, by the same table that sizes the run.
fn fits(cli: &Cli, free: Option<u64>) -> anyhow::Result<String> {
    let lang = cli.lang;
    let heads = [("LoRA r16, 512 tokens", "LoRA r16，512 词元"), ("memory", "内存"), ("fits", "放得下")];
    let mut rows = vec![heads.map(|(en, zh)| lang.pick(en, zh).to_string()).to_vec()];
    let store: Store = cli.store()?;
    for listed in hub::list(&store, &cli.pull_options())? {
        if listed.entry.as_ref().is_some_and(|e| e.kind != Kind::Model) {
            continue;
        }
        let State::Here { path, .. } = &listed.state else {
            rows.push(vec![
                listed.name,
                "?".into(),
                lang.pick("not here yet: pull it first", "尚未取到本机").into(),
            ]);
            continue;
        };
        let need = ModelFile::open(path).map_err(anyhow::Error::from).and_then(|file| {
            let (config, _) = families::read(&file)?;
            let bytes = file.tensors().iter().map(|t| t.bytes).sum();
            Ok(models::lora_memory(&config, bytes, &models::spec(16), models::threads(0), 512, 1024))
        });
        let (need, verdict) = match (need, free) {
            (Ok(need), Some(free)) => (
                size(need),
                if need < free { lang.pick("yes", "是") } else { lang.pick("no", "否") }.to_string(),
            ),
            (Ok(need), None) => (size(need), "?".into()),
            (Err(e), _) => ("?".into(), e.to_string()),
        };
        rows.push(vec![listed.name, need, verdict]);
    }
    Ok(table(&rows, &[1]))
}
