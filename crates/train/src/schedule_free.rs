//! Schedule-free AdamW (Defazio et al. 2024, "The Road Less Scheduled", algorithm 1): an average of the way takes the
//! place of a falling rate.
//!
//! Three points: `z` walks by AdamW's steps, `x` is the mean of its places, each weighing the square of its rate, and
//! gradients are taken at `y = (1 − β₁) z + β₁ x`. What trains holds `y`; `x`, which is what is saved, follows from both.

use nurture_kernels::AdamW;

/// What is remembered of one tensor.
#[derive(Debug)]
pub(crate) struct Walk {
    /// the point that walks
    pub(crate) z: Vec<f32>,
    /// the second moment
    pub(crate) v: Vec<f32>,
    /// the sum of the squared rates, an f64 in two words
    pub(crate) sum: Vec<f32>,
}

impl Walk {
    /// At the beginning all three points are the values.
    pub(crate) fn new(values: &[f32]) -> Walk {
        Walk { z: values.to_vec(), v: vec![0.0; values.len()], sum: vec![0.0; 2] }
    }

    fn sum(&self) -> f64 {
        let word = |i: usize| u64::from(self.sum.get(i).map_or(0, |w| w.to_bits()));
        f64::from_bits(word(0) | word(1) << 32)
    }

    fn set_sum(&mut self, sum: f64) {
        let bits = sum.to_bits();
        self.sum = vec![f32::from_bits(bits as u32), f32::from_bits((bits >> 32) as u32)];
    }

    /// One step with the gradient `g` at `y`.
    pub(crate) fn step(&mut self, how: &AdamW, y: &mut [f32], g: &[f32]) {
        let rate = how.rate * (1.0 - how.beta2.powf(how.step as f64)).sqrt();
        let sum = self.sum() + rate * rate;
        self.set_sum(sum);
        // a rate of zero moves nothing and weighs nothing
        let part = if sum > 0.0 { rate * rate / sum } else { 0.0 };
        let far = (1.0 - how.beta1 * (1.0 - part)) as f32;
        let (rate, part, scale) = (rate as f32, part as f32, how.grad_scale as f32);
        let (eps, decay) = (how.eps as f32, how.weight_decay as f32);
        // differences from one in float64: a float32 of 0.999 would be off in the fifth digit of them
        let fresh = (1.0 - how.beta2) as f32;
        // x' = (1 − c) x + c z', put into y' = (1 − β₁) z' + β₁ x'
        for (((y, z), v), g) in y.iter_mut().zip(&mut self.z).zip(&mut self.v).zip(g) {
            let g = g * scale;
            *v += fresh * (g * g - *v);
            let walk = rate * (g / (v.sqrt() + eps) + decay * *y);
            *y += part * (*z - *y) - far * walk;
            *z -= walk;
        }
    }

    /// Puts the mean `x` in the place of `y`.
    pub(crate) fn settle(&self, beta1: f64, y: &mut [f32]) {
        if beta1 > 0.0 {
            let (own, walk) = ((1.0 / beta1) as f32, ((1.0 - beta1) / beta1) as f32);
            y.iter_mut().zip(&self.z).for_each(|(y, z)| *y = own * *y - walk * *z);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::Value;

    /// `tools/goldens/schedule_free.py`
    #[test]
    fn equals_the_published_algorithm() {
        let path = nurture_testing::repository("crates/train/tests/goldens/schedule_free.json");
        let golden: Value = serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
        let floats = |v: &Value| -> Vec<f32> { serde_json::from_value(v.clone()).unwrap() };
        for case in golden["cases"].as_array().unwrap() {
            let number = |key: &str| case[key].as_f64().unwrap();
            let mut y = floats(&case["start"]);
            let mut walk = Walk::new(&y);
            for (at, step) in case["steps"].as_array().unwrap().iter().enumerate() {
                let how = AdamW {
                    rate: step["rate"].as_f64().unwrap(),
                    beta1: number("beta1"),
                    beta2: number("beta2"),
                    eps: number("eps"),
                    weight_decay: number("weight_decay"),
                    step: at as u64 + 1,
                    // the scale of clipping is undone, so that it is seen to be used
                    grad_scale: 0.5,
                };
                let twice: Vec<f32> = floats(&step["gradient"]).iter().map(|g| 2.0 * g).collect();
                walk.step(&how, &mut y, &twice);
                let mut x = y.clone();
                walk.settle(how.beta1, &mut x);
                for (what, got, want) in
                    [("y", &y, &step["y"]), ("z", &walk.z, &step["z"]), ("x", &x, &step["x"])]
                {
                    for (got, want) in got.iter().zip(floats(want)) {
                        assert!((got - want).abs() < 3e-6, "step {at}: {what} is {got}, not {want}");
                    }
                }
            }
        }
    }
}
