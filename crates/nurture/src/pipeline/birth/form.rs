//! The parts of a newborn: whose form it has, and what the recipe makes otherwise, each with its reason.

use crate::lang::Said;
use crate::recipe::{MlpKind, Newborn, NormKind, Notes, Positions, Shape as Whose};
use crate::said;
use nurture_model::{Activation, Experts, Form, Shape};

/// Experts that work on a token.
const ACTIVE: usize = 2;
/// Factor on the balancing loss (Fedus et al. 2021).
const BALANCE: f64 = 0.01;
/// Gemma's pattern: so many layers with a window for one without, and that one.
const GLOBAL_EVERY: usize = 6;

fn yes(on: bool) -> String {
    on.to_string()
}

/// Notes a choice among words.
fn pick<T: Copy>(
    notes: &mut Notes,
    key: &str,
    given: Option<T>,
    or: T,
    word: impl Fn(T) -> String,
    why: impl FnOnce() -> Said,
) -> T {
    let value = given.unwrap_or(or);
    notes.add(key, word(value), given.is_some(), why);
    value
}

/// The form of the parts and their inner width, for a network of this width.
pub(super) fn form(new: &Newborn, width: usize, notes: &mut Notes) -> Shape {
    let whose = new.shape;
    let preset = match whose {
        Whose::Llama => Form::LLAMA,
        Whose::Gpt2 => Form::GPT2,
        Whose::Qwen3 => Form::QWEN3,
        Whose::Gemma3 => Form::GEMMA3,
    };
    let name = whose.word();
    notes.state("model.new.shape", name.to_string(), said!("whose form it has", "照这个系列的形式"));
    let as_there = || said!("as in the form of {name}", "与 {name} 的形式相同");
    let norm = pick(
        notes,
        "model.new.norm",
        new.norm,
        match preset.norm {
            nurture_model::NormKind::Rms => NormKind::Rms,
            nurture_model::NormKind::Layer => NormKind::Layer,
        },
        |w| w.word().to_string(),
        as_there,
    );
    let positions = pick(
        notes,
        "model.new.positions",
        new.positions,
        match preset.positions {
            nurture_model::Positions::Rope => Positions::Rope,
            nurture_model::Positions::Learned => Positions::Learned,
            nurture_model::Positions::Sinusoidal => Positions::Sinusoidal,
            nurture_model::Positions::None => Positions::None,
        },
        |w| w.word().to_string(),
        as_there,
    );
    let mlp = pick(
        notes,
        "model.new.mlp",
        new.mlp,
        match preset.mlp {
            nurture_model::MlpKind::Gated => MlpKind::Gated,
            nurture_model::MlpKind::Plain => MlpKind::Plain,
        },
        |w| w.word().to_string(),
        as_there,
    );
    let qk_norm = pick(notes, "model.new.qk_norm", new.qk_norm, preset.qk_norm, yes, as_there);
    notes.add("model.new.tie", yes(new.tie), !new.tie, || {
        said!(
            "in a small model a head of its own would be a large part of it",
            "模型小，单独的输出层会占去很大一部分"
        )
    });
    let mlp = match mlp {
        MlpKind::Gated => nurture_model::MlpKind::Gated,
        MlpKind::Plain => nurture_model::MlpKind::Plain,
    };
    let form = Form {
        norm: match norm {
            NormKind::Rms => nurture_model::NormKind::Rms,
            NormKind::Layer => nurture_model::NormKind::Layer,
        },
        positions: match positions {
            Positions::Rope => nurture_model::Positions::Rope,
            Positions::Learned => nurture_model::Positions::Learned,
            Positions::Sinusoidal => nurture_model::Positions::Sinusoidal,
            Positions::None => nurture_model::Positions::None,
        },
        mlp,
        activation: match mlp {
            _ if mlp == preset.mlp => preset.activation,
            nurture_model::MlpKind::Gated => Activation::Silu,
            nurture_model::MlpKind::Plain => Activation::GeluTanh,
        },
        qk_norm,
        // sines are as large as one, so that embedded tokens have to be no smaller
        scaled: preset.scaled || positions == Positions::Sinusoidal,
        ..preset
    };
    let (ffn, experts) = inside(new, mlp, width, notes);
    Shape { form, ffn, experts, ..Shape::default() }
}

/// The width of the feed-forward part, and the experts.
fn inside(
    new: &Newborn,
    mlp: nurture_model::MlpKind,
    width: usize,
    notes: &mut Notes,
) -> (usize, Option<Experts>) {
    let gated = (width * 8 / 3).next_multiple_of(32);
    let Some(count) = new.experts else {
        let (or, why) = match mlp {
            nurture_model::MlpKind::Gated => (
                gated,
                said!(
                    "8/3 of the width: a gated part as large as a plain one of four widths",
                    "宽度的 8/3：带门的前馈，与四倍宽的普通前馈一样大"
                ),
            ),
            nurture_model::MlpKind::Plain => {
                (4 * width, said!("four widths, as is usual without a gate", "不带门时通常取四倍宽"))
            }
        };
        return (notes.choose("model.new.ffn", new.ffn, or, |_| why), None);
    };
    notes.add("model.new.experts", count.to_string(), true, || said!("", ""));
    let active = notes.choose("model.new.active", new.active, ACTIVE.min(count), |_| {
        said!("two choose against each other, which teaches the router", "两个相互比较，路由器才学得到东西")
    });
    let each = (gated / active.max(1)).next_multiple_of(32);
    let ffn = notes.choose("model.new.ffn", new.ffn, each, |_| {
        said!(
            "the {active} experts of a token work as much as one part of {gated} would",
            "一个词元的 {active} 个专家合起来，计算量相当于一个宽 {gated} 的前馈"
        )
    });
    let balance = notes.choose("model.new.balance", new.balance, BALANCE, |_| {
        said!(
            "usual: enough to use all experts, too little to choose them",
            "常用值：足以用到所有专家，又不至于左右选择"
        )
    });
    let experts = Experts { count, active, ffn, normalise: true, balance: balance as f32 };
    (ffn, Some(experts))
}

/// The windows, once the context is known.
pub(super) fn windows(new: &Newborn, context: usize, shape: &mut Shape, notes: &mut Notes) {
    let gemma = new.shape == Whose::Gemma3;
    let own = gemma.then_some((context / 4).max(1));
    let Some(window) = new.window.or(own) else { return };
    notes.add("model.new.window", window.to_string(), new.window.is_some(), || {
        said!(
            "a quarter of the context: Gemma's windows are far shorter than its texts",
            "上下文的四分之一：Gemma 的窗口远短于文本"
        )
    });
    let every = if gemma { GLOBAL_EVERY.min(shape.layers) } else { 0 };
    let every = notes.choose("model.new.global_every", new.global_every, every, |every| match every {
        0 => said!(
            "no layer sees all: what is far away comes through several layers",
            "没有层看全部：远处的内容经几层传来"
        ),
        every => said!(
            "Gemma's pattern, of {every} layers the last sees all",
            "Gemma 的排法：每 {every} 层的最后一层看全部"
        ),
    });
    (shape.window, shape.global_every) = (Some(window), every);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pipeline::birth::plan;
    use nurture_model::{Decoder, Family};

    fn planned(new: &Newborn) -> (Shape, Notes) {
        let mut notes = Notes::default();
        let shape = plan::shape(new, 1_200_000, &mut notes);
        (shape, notes)
    }

    #[test]
    fn a_form_by_name_is_the_family() {
        for (whose, family) in [
            (Whose::Llama, Family::Llama),
            (Whose::Gpt2, Family::Gpt2),
            (Whose::Qwen3, Family::Qwen3),
            (Whose::Gemma3, Family::Gemma3),
        ] {
            for depth in [1, 3, 8] {
                let (shape, notes) = planned(&Newborn { shape: whose, depth, ..Newborn::default() });
                shape.check().unwrap();
                assert_eq!(shape.family(), family);
                for note in &notes.0 {
                    assert!(note.reason.en.len() > 10 && !note.reason.zh.is_ascii(), "{note:?}");
                }
            }
        }
        let (gpt2, _) = planned(&Newborn { shape: Whose::Gpt2, ..Newborn::default() });
        assert_eq!(gpt2.ffn, 4 * gpt2.width);
        let (gemma, _) = planned(&Newborn { shape: Whose::Gemma3, depth: 8, ..Newborn::default() });
        let windows = gemma.config(true).windows;
        assert_eq!(windows.iter().filter(|w| w.is_none()).count(), 1);
        assert_eq!((windows[5], windows[0]), (None, Some(128)));
    }

    #[test]
    fn single_parts_are_changed_by_hand() {
        let new = Newborn {
            norm: Some(NormKind::Layer),
            positions: Some(Positions::Sinusoidal),
            mlp: Some(MlpKind::Plain),
            qk_norm: Some(true),
            window: Some(40),
            global_every: Some(2),
            tie: false,
            ..Newborn::default()
        };
        let (shape, notes) = planned(&new);
        shape.check().unwrap();
        assert_eq!(shape.family(), Family::Own);
        let c = shape.config(false);
        assert_eq!((c.norm, c.activation), (nurture_model::NormKind::Layer, Activation::GeluTanh));
        assert_eq!((c.positions, c.qk_norm), (nurture_model::Positions::Sinusoidal, true));
        assert_eq!(c.windows, [Some(40), None, Some(40), None]);
        assert_eq!(c.embed_scale, 16.0);
        assert_eq!(notes.0.iter().filter(|n| n.given).count(), 7);
        assert_eq!(shape.ffn, 4 * shape.width);
    }

    #[test]
    fn experts_do_the_work_of_one_part() {
        let (plain, _) = planned(&Newborn::default());
        let (shape, notes) =
            planned(&Newborn { experts: Some(8), shape: Whose::Qwen3, ..Newborn::default() });
        shape.check().unwrap();
        let e = shape.experts.unwrap();
        assert_eq!((e.count, e.active, shape.family()), (8, 2, Family::Qwen3Moe));
        assert!((e.ffn * 2).abs_diff(plain.ffn) <= 64, "{} {}", e.ffn, plain.ffn);
        assert!(notes.0.iter().any(|n| n.key == "model.new.active" && !n.given));
        // the whole is there: more weights, about as many at work
        let net = Decoder::newborn(&Shape { vocab: 300, ..shape }, true, 1);
        assert!(net.parameters() > 2 * net.config().active_parameters(true));
    }
}
