//! Noise on embedded tokens (NEFTune, Jain et al. 2024).

use crate::pool::{Pool, Shares};
use crate::rng::Rng;

/// Adds to each value of `x` `[rows, width]` a number from the uniform distribution on `-size..size`, a function of seed
/// and row alone.
pub fn add_uniform_noise(pool: &Pool, x: &mut [f32], width: usize, size: f32, seed: u64) {
    assert!(width > 0 && x.len().is_multiple_of(width), "noise shape");
    let rows = x.len() / width;
    let out = Shares::new(x);
    pool.run(rows, |row| {
        let mut rng = Rng::stream(seed, row as u64 + 1);
        // SAFETY: tasks own disjoint rows.
        for v in unsafe { out.at(row * width, width) } {
            *v += size * (rng.uniform() * 2.0 - 1.0) as f32;
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn noise_is_uniform_and_the_same_for_any_number_of_threads() {
        let (rows, width) = (40, 600);
        let run = |threads, seed| {
            let mut x = vec![3f32; rows * width];
            add_uniform_noise(&Pool::new(threads), &mut x, width, 0.5, seed);
            x
        };
        let x = run(1, 7);
        assert!(x == run(3, 7) && x != run(1, 8));
        assert!(x.iter().all(|v| (2.5..3.5).contains(v)));
        let n = x.len() as f64;
        let mean = x.iter().map(|&v| v as f64 - 3.0).sum::<f64>() / n;
        let square = x.iter().map(|&v| (v as f64 - 3.0).powi(2)).sum::<f64>() / n;
        // standard error of the mean 0.0019; the variance of the distribution is 1/12
        assert!(mean.abs() < 0.008 && (square * 12.0 - 1.0).abs() < 0.03, "{mean} {square}");
        assert!(x[..width] != x[width..2 * width], "rows differ");
    }
}
