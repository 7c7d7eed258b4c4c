//! Training.
use std::error::Error;

use nurture_train::{TrainError, Warning};

use super::{formats, system};
use crate::lang::Said;

/// What the owner of a run should hear, though the run goes on.
pub fn warning(warning: &Warning) -> Said {
    let zh = match warning {
        Warning::BrokenCheckpoint { checkpoint, problem } => {
            format!("{}：存档不能用，改用更早的或从头开始：{problem}", checkpoint.display())
        }
        Warning::FromTheBeginning { folder } => {
            format!("{}：没有可用的存档；从第一步开始", folder.display())
        }
        Warning::Diverging { step, mean, best } => {
            format!("第 {step} 步：损失在上升：平均 {mean:.4}，最好时是 {best:.4}")
        }
        other => other.to_string(),
    };
    Said::new(warning.to_string(), zh)
}

pub(super) fn zh(error: &(dyn Error + 'static)) -> Option<String> {
    Some(match error.downcast_ref::<TrainError>()? {
        TrainError::Setting { key, problem } => format!("{key}：{problem}"),
        TrainError::NoExamples => "没有训练样本：数据是空的，或每一行都被舍弃（原因见账本）".into(),
        TrainError::Untrained { id } => format!("样本 {id}：没有要学的词元，从中学不到东西"),
        TrainError::BeyondContext { id, tokens, context } => {
            format!("样本 {id}：{tokens} 个词元，而基座的上下文只有 {context}；请缩短或去掉它")
        }
        TrainError::BeyondMicroBatch { id, tokens, micro_tokens } => format!(
            "样本 {id}：{tokens} 个词元，而一个微批只容 {micro_tokens}；请调大 train.micro_tokens 或缩短样本"
        ),
        TrainError::Format(e) => return formats::format(e),
        TrainError::Io { file, action, source } => {
            format!("{}：{}（{action}）", file.display(), system(source))
        }
        TrainError::LossNotFinite { step, id, loss, rate } => format!(
            "第 {step} 步：样本 {id} 的损失是 {loss}；请降低学习率（这一步是 {rate:e}），或看看这个样本"
        ),
        TrainError::GradientNotFinite { step, tensor, rate } => {
            format!("第 {step} 步：{tensor} 的梯度里有非有限的值；请降低学习率（这一步是 {rate:e}）")
        }
        TrainError::ZeroGradient { step } => format!(
            "第 {step} 步：所有梯度都恰好是零，什么也没在学；若损失也是零，样本已经背熟了（少训几遍）；否则请看适配器的 A 和 B 是否都是零，或 alpha 是 0"
        ),
        TrainError::Diverged { step, mean, best, window } => format!(
            "第 {step} 步：损失在上升：最近 {window} 步平均 {mean:.4}，最好时是 {best:.4}；请降低学习率或加长预热，或用 on_divergence = \"warn\" 照样继续"
        ),
        TrainError::Practice { step, source } => format!("第 {step} 步：练习：{source}"),
        TrainError::NoRoom { id, tokens, max_new, limit, what } => {
            let what = if what.contains("context") {
                "基座的上下文"
            } else {
                "一次能处理的词元（micro_tokens）"
            };
            format!(
                "提示 {id}：{tokens} 个词元，加上最长 {max_new} 个词元的回答，而{what}只有 {limit}；请缩短提示，或调小回答的最长长度"
            )
        }
        TrainError::AlreadyBegun { folder } => {
            format!("{}：已有一次运行的存档；请续训，或换一个目录", folder.display())
        }
        TrainError::Changed { checkpoint, differences } => format!(
            "{}：不能续训，因为与存档时不同：{}；请改回来，或换一个目录重新开始",
            checkpoint.display(),
            differences.join("；")
        ),
        _ => return None,
    })
}
