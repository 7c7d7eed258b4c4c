//! AdamW with moments of eight bits.
//!
//! Moments stand in blocks of 256: one scale, the largest magnitude of the block, and a byte a value. The first moment is
//! `± s (c / 127)⁴`, of the second the root is `s (c / 255)⁴`: steps of 3 % and 1.6 % at the top that shrink towards zero,
//! since a block's values span many orders of magnitude, and a root because that is what the update divides by.
//!
//! Storing rounds up or down at random so that the expectation is exact: moving averages change by less than a step at a
//! time, and rounding to the nearest would never let them fall. The chance is a hash of step and index alone, so that
//! the same run gives the same bits. A second moment above zero never becomes zero, since the update divides by it.

use crate::adamw::AdamW;
use crate::pool::{Pool, Shares};

/// Values that share a scale.
pub const BLOCK8: usize = 256;

/// Blocks a task works on.
const BLOCKS: usize = 64;

/// Both moments of a tensor.
#[derive(Clone, Debug, PartialEq)]
pub struct Moments8 {
    len: usize,
    /// scales of the first moment and of the root of the second, a pair a block
    scales: Vec<f32>,
    /// codes of the first moment (two's complement), then of the second, four to a word, in whole blocks
    codes: Vec<u32>,
}

impl Moments8 {
    /// Moments of zero for `len` values.
    pub fn zeros(len: usize) -> Moments8 {
        let blocks = len.div_ceil(BLOCK8);
        Moments8 { len, scales: vec![0.0; 2 * blocks], codes: vec![0; 2 * blocks * BLOCK8 / 4] }
    }

    /// Bytes in memory.
    pub fn bytes(&self) -> usize {
        4 * (self.scales.len() + self.codes.len())
    }

    /// Scales, and the words of the codes as patterns of bits, to be stored.
    pub fn stored(&self) -> [&[f32]; 2] {
        // SAFETY: words have the size and alignment of floats, and every pattern of bits is a float.
        let codes = unsafe { std::slice::from_raw_parts(self.codes.as_ptr().cast(), self.codes.len()) };
        [&self.scales, codes]
    }

    /// The same, to be restored.
    pub fn stored_mut(&mut self) -> [&mut [f32]; 2] {
        let (p, n) = (self.codes.as_mut_ptr(), self.codes.len());
        // SAFETY: as in `stored`; the borrow is exclusive.
        [&mut self.scales, unsafe { std::slice::from_raw_parts_mut(p.cast(), n) }]
    }

    /// The moments as they stand: `(first, second)` of value `i`.
    ///
    /// # Panics
    /// If there is no such value.
    pub fn get(&self, i: usize) -> (f32, f32) {
        assert!(i < self.len, "moment {i} of {}", self.len);
        let (b, k) = (i / BLOCK8, i % BLOCK8);
        let at = |half: usize| {
            let byte = (2 * b + half) * BLOCK8 + k;
            (self.codes[byte / 4] >> (8 * (byte % 4))) as u8
        };
        let root = from_root(at(1), self.scales[2 * b + 1]);
        (from_signed(at(0), self.scales[2 * b]), root * root)
    }
}

fn from_signed(code: u8, scale: f32) -> f32 {
    let x = code as i8 as f32 / 127.0;
    scale * (x * x * x * x).copysign(x)
}

fn from_root(code: u8, scale: f32) -> f32 {
    let x = code as f32 / 255.0;
    scale * (x * x * x * x)
}

/// A hash of 32 bits that looks random (the finaliser of MurmurHash3).
fn mix(mut x: u32) -> u32 {
    x ^= x >> 16;
    x = x.wrapping_mul(0x85eb_ca6b);
    x ^= x >> 13;
    x = x.wrapping_mul(0xc2b2_ae35);
    x ^ x >> 16
}

/// A code for `x` in `0..=1` with `top` steps of `(c / top)⁴`; `value(c)` is what code `c` stands for in the quantity whose
/// expectation is kept, `want` that quantity, `dice` a random number in `0..1`.
fn code(x: f32, top: f32, want: f32, dice: f32, value: impl Fn(f32) -> f32) -> f32 {
    let low = (x.sqrt().sqrt() * top).floor().min(top - 1.0);
    let (a, b) = (value(low), value(low + 1.0));
    low + if want - a > dice * (b - a) { 1.0 } else { 0.0 }
}

/// One step as [`crate::adamw()`] does it, on moments of eight bits. `stream` tells tensors apart: the same for the same
/// tensor in each step.
pub fn adamw8(pool: &Pool, c: &AdamW, stream: u32, p: &mut [f32], g: &[f32], moments: &mut Moments8) {
    assert!(p.len() == g.len() && p.len() == moments.len, "optimiser shapes");
    let (b1, b2) = (c.beta1 as f32, c.beta2 as f32);
    let (n1, n2) = ((1.0 - c.beta1) as f32, (1.0 - c.beta2) as f32);
    let correct1 = 1.0 - c.beta1.powf(c.step as f64);
    let correct2 = (1.0 - c.beta2.powf(c.step as f64)).sqrt() as f32;
    let rate = (c.rate / correct1) as f32;
    let keep = (1.0 - c.rate * c.weight_decay) as f32;
    let (eps, grad_scale) = (c.eps as f32, c.grad_scale as f32);
    let seed = mix(stream ^ mix(c.step as u32));
    let blocks = g.len().div_ceil(BLOCK8);
    let (ps, ss, cs) = (Shares::new(p), Shares::new(&mut moments.scales), Shares::new(&mut moments.codes));
    pool.run(blocks.div_ceil(BLOCKS), |task| {
        let (mut m, mut v) = ([0f32; BLOCK8], [0f32; BLOCK8]);
        for b in task * BLOCKS..((task + 1) * BLOCKS).min(blocks) {
            let at = b * BLOCK8..((b + 1) * BLOCK8).min(g.len());
            // SAFETY: tasks own disjoint blocks.
            let (p, s, codes) =
                unsafe { (ps.at(at.start, at.len()), ss.at(2 * b, 2), cs.at(b * BLOCK8 / 2, BLOCK8 / 2)) };
            let (mc, vc) = codes.split_at_mut(BLOCK8 / 4);
            let (mut top_m, mut top_v) = (0f32, 0f32);
            for (k, (p, g)) in p.iter_mut().zip(&g[at]).enumerate() {
                let g = g * grad_scale;
                let old_m = from_signed((mc[k / 4] >> (8 * (k % 4))) as u8, s[0]);
                let old_r = from_root((vc[k / 4] >> (8 * (k % 4))) as u8, s[1]);
                m[k] = b1 * old_m + n1 * g;
                v[k] = b2 * (old_r * old_r) + n2 * g * g;
                let root = v[k].sqrt();
                *p = *p * keep - rate * m[k] / (root / correct2 + eps);
                (top_m, top_v) = (top_m.max(m[k].abs()), top_v.max(root));
            }
            (s[0], s[1]) = (top_m, top_v);
            let (per_m, per_v) = (1.0 / top_m.max(f32::MIN_POSITIVE), 1.0 / top_v.max(f32::MIN_POSITIVE));
            for k in 0..BLOCK8.min(p.len()) {
                let dice = mix(seed ^ (b * BLOCK8 + k) as u32);
                let (dice_m, dice_v) = ((dice >> 16) as f32 / 65_536.0, (dice & 0xffff) as f32 / 65_536.0);
                let x = (m[k].abs() * per_m).min(1.0);
                let fourth = |c: f32, top: f32| (c / top) * (c / top) * ((c / top) * (c / top));
                let signed = code(x, 127.0, x, dice_m, |c| fourth(c, 127.0));
                let signed = (signed as i8) * if m[k] < 0.0 { -1 } else { 1 };
                let r = (v[k].sqrt() * per_v).min(1.0);
                // the expectation of the second moment is kept, not of its root
                let square = |c: f32| fourth(c, 255.0) * fourth(c, 255.0);
                let root = code(r, 255.0, r * r, dice_v, square).max(if v[k] > 0.0 { 1.0 } else { 0.0 });
                for (to, byte) in [(&mut mc[k / 4], signed as u8), (&mut vc[k / 4], root as u8)] {
                    let shift = 8 * (k % 4);
                    *to = *to & !(255 << shift) | (byte as u32) << shift;
                }
            }
        }
    });
}
