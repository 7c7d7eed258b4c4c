//! The machine's own limits, with all threads.

use std::time::Duration;

use nurture::kernels::{Int8Path, Isa, Pool, fma_rate, int8_rate, isa, read_rate};

use super::Figures;
use crate::cli::args::Args;
use crate::cli::{Cli, models};

/// What the reading loop goes through: several times the largest cache.
const READ_BYTES: usize = 512 << 20;

/// `None` when Ctrl-C stopped it.
pub(super) fn run(cli: &Cli, args: Args<'_>) -> Option<Figures> {
    let quick = args.switch("quick");
    let repeats = args.count("repeat").unwrap_or(if quick { 3 } else { 7 });
    let time = Duration::from_millis(if quick { 50 } else { 300 });
    measure(cli, args.count("threads").unwrap_or(0), repeats, time)
}

/// Measures each rate `repeats` times for about `time`; `None` when Ctrl-C stopped it.
pub(crate) fn measure(cli: &Cli, threads: usize, repeats: usize, time: Duration) -> Option<Figures> {
    let pool = Pool::new(models::threads(threads));
    if isa() == Isa::Scalar {
        cli.out.warn(cli.lang.pick(
            "this machine has neither AVX2 nor AVX-512: the portable kernels are used, many times slower",
            "本机没有 AVX2 或 AVX-512：使用可移植的标量内核，会慢很多倍",
        ));
    }
    let runs = |rate: &dyn Fn() -> f64, unit: f64| -> Option<Vec<f64>> {
        rate(); // threads awake, clock at its working speed
        (0..repeats).map(|_| (!cli.interrupt.raised()).then(|| rate() / unit)).collect()
    };
    let fma = runs(&|| fma_rate(&pool, time), 1e9)?;
    let int8 = runs(&|| int8_rate(&pool, time), 1e9)?;
    // ones, so that every page is really there
    let memory = vec![1f32; READ_BYTES / size_of::<f32>()];
    let read = runs(&|| read_rate(&pool, &memory), 1e9)?;
    let mut figures = Figures::default();
    figures.fact("threads", pool.threads());
    figures.fact("isa", isa().name());
    figures.fact("int8_isa", Int8Path::detect().name());
    figures.runs("f32_fma_gflops", fma, 1);
    figures.runs("int8_gops", int8, 1);
    figures.runs("read_gbps", read, 1);
    Some(figures)
}
