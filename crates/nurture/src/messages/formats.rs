//! Model files and whatever else other tools read too.
use std::error::Error;

use nurture_formats::FormatError;

use super::system;

pub(super) fn zh(error: &(dyn Error + 'static)) -> Option<String> {
    error.downcast_ref::<FormatError>().and_then(format)
}

pub(super) fn format(e: &FormatError) -> Option<String> {
    Some(match e {
        FormatError::Io { file, action, source } => {
            format!("{}：{}（{action}）", file.display(), system(source))
        }
        FormatError::DiskFull { file } => format!(
            "{}：磁盘没有空间了（或达到了配额、文件大小的上限）；没写完的文件已清除：请腾出空间后重试",
            file.display()
        ),
        FormatError::Malformed { file, offset, item, problem } => {
            format!("{}：文件损坏：第 {offset} 字节，{item}：{problem}", file.display())
        }
        FormatError::NotSupported { file, problem } => format!("{}：不支持：{problem}", file.display()),
        FormatError::NoTensor { file, name, nearest } => {
            let names: Vec<String> = nearest.iter().map(|name| format!("\"{name}\"")).collect();
            let hint = if names.is_empty() {
                String::new()
            } else {
                format!("；最接近的：{}", names.join("、"))
            };
            format!("{}：没有张量 \"{name}\"{hint}", file.display())
        }
        FormatError::UnsupportedType { file, name, dtype } => format!(
            "{}：张量 \"{name}\" 以 {dtype} 存储，不支持；请用 F32、F16、BF16、Q4_0、Q4_1、Q5_0、Q5_1、Q8_0、Q2_K、Q3_K、Q4_K、Q5_K、Q6_K、IQ4_NL 之一的文件",
            file.display()
        ),
        FormatError::Key { file, key, problem } => {
            format!("{}：键 \"{key}\"：{problem}", file.display())
        }
        _ => return None,
    })
}
