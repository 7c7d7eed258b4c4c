//! Data files and their rows.
use std::error::Error;

use nurture_data::{DataError, DocumentProblem, Note, RowProblem, TokenError, Why, page_list};

use super::system;
use crate::lang::Lang;

/// Why the columns of a file were taken for what they are.
pub fn why(lang: Lang, why: &Why) -> String {
    match lang {
        Lang::En => why.to_string(),
        Lang::Zh => why_zh(why),
    }
}

fn why_zh(why: &Why) -> String {
    match why {
        Why::Given => "按配方指定".into(),
        Why::Turns { column, keys: [who, what] } => {
            format!("“{column}”是对话轮次的列表，每轮有 {who} 和 {what}")
        }
        Why::Options { options, question, answer } => match options.as_slice() {
            [one] => format!("“{one}”列出“{question}”的选项，“{answer}”指明正确的一个"),
            more => format!("{} 各列是“{question}”的选项，“{answer}”指明正确的一个", more.join("、")),
        },
        Why::Instruction { instruction, output } => {
            format!("“{instruction}”和“{output}”是指令及其输出（Alpaca）")
        }
        Why::Completion { prompt, completion } => format!("“{prompt}”是提示，“{completion}”接续它"),
        Why::Question { question, answer } => format!("“{question}”是问题，“{answer}”是它的答案"),
        Why::Category { text, category } => format!("“{text}”是文本，“{category}”是它的类别"),
        Why::PlainText { text } => format!("“{text}”是纯文本，没有哪一列是它的答案"),
        Why::Documents { count, formats } => {
            format!("{count} 份文档（{}），学习其文本", formats.join("、"))
        }
        Why::Preference { prompt: Some(prompt), chosen, rejected } => {
            format!("对“{prompt}”，“{chosen}”是较好的答案，“{rejected}”是较差的")
        }
        Why::Preference { prompt: None, chosen, rejected } => {
            format!("“{chosen}”和“{rejected}”是两段只在最后的答案上不同的对话，前者较好")
        }
        Why::Judged { answer, good } => format!("“{good}”用真假说明“{answer}”里的答案好不好"),
        Why::Nameless { category, categories, rows, text, texts } => format!(
            "没有表头；前 {rows} 行里“{category}”有 {categories} 个不同的值，像是类别，“{text}”有 {texts} 个"
        ),
    }
}

pub(super) fn zh(error: &(dyn Error + 'static)) -> Option<String> {
    if let Some(e) = error.downcast_ref::<DataError>() {
        return file(e);
    }
    if let Some(e) = error.downcast_ref::<TokenError>() {
        return tokens(e);
    }
    error.downcast_ref::<RowProblem>().and_then(row)
}

fn file(e: &DataError) -> Option<String> {
    Some(match e {
        DataError::Io { path, source } => format!("{}：读不了：{}", path.display(), system(source)),
        DataError::Encoding { file, line, byte, encoding } => format!(
            "{file}:{line}：第 {byte} 字节不是合法的 {encoding}；请把文件存为 UTF-8，或写明编码（encoding = \"gb18030\"、\"utf-16le\" 等）"
        ),
        DataError::Binary { file, byte } => {
            format!("{file}：第 {byte} 字节是零：这不是文本文件；请给出它的文本、csv 或 json 导出")
        }
        DataError::UnknownFormat { file } => format!(
            "{file}：从文件名和第一个字符都看不出格式；请用 .jsonl、.json、.csv、.tsv、.parquet、.xlsx、.txt、.md、.html、.docx、.pdf 或 .zip 作扩展名"
        ),
        DataError::Document { file, problem } => format!("{file}：{}", document(problem)),
        DataError::BadDocument { file, problem } => format!(
            "{file}：{}。或设 data.on_bad_row = \"drop\" 跳过这样的文件（每个都会记入账本）",
            document(problem)
        ),
        DataError::FolderLoop { path, depth } => format!(
            "{}：这个文件夹又绕回它上层的文件夹，或已深入 {depth} 层；请去掉链接，或直接写明要用的文件夹",
            path.display()
        ),
        DataError::RowTooLong { file, line, cap } => {
            format!("{file}:{line}：从这里开始的一行超过 {cap} 字节；请看是否有没闭合的引号，或缺了换行")
        }
        DataError::Quote { file, line, problem } => format!(
            "{file}:{line}：引号有问题（{problem}）；带引号的字段里，引号要写两遍（\"\"）；引号只是普通字符的文件请存为 jsonl"
        ),
        DataError::NoRows { file } => format!("{file}：没有数据行：文件是空的，或只有表头"),
        DataError::NothingLeft { sources, rows, reasons } => {
            format!("{sources} 里没有剩下可用的样本：读了 {rows} 行，一行也没用上；账本里的原因：{reasons}")
        }
        DataError::BadRow { file, line, problem } => format!(
            "{file}:{line}：{}；请改正这一行，或设 data.on_bad_row = \"drop\" 跳过这样的行（每行都会记入账本）",
            row(problem).unwrap_or_else(|| problem.to_string())
        ),
        DataError::SchemaUnclear { file, columns, example, other, nameless } => {
            let problem = match other {
                None => "这些列不像任何已知的训练数据",
                Some(_) => "既有答案又有类别，哪个都可能是要学的",
            };
            let hint = match (other, nameless) {
                (Some(other), _) => format!("以学类别，或 {} 以学答案", other.in_recipe()),
                (None, true) => "（第一条记录被当作数据；若它是列名，请在文件里把列名取得明白些）".into(),
                (None, false) => "（kind 可以是：messages、sharegpt、instruction、prompt_completion、question_answer、label、choice、text）".into(),
            };
            format!(
                "{file}：{problem}。它的列：{columns}。请在配方里文件路径之后说明，例如：{}{hint}",
                example.in_recipe()
            )
        }
        DataError::NoSuchColumn { file, part, name, columns, nearest } => {
            let hint = nearest.as_ref().map_or_else(String::new, |near| format!("；是不是 \"{near}\"？"));
            format!("{file}：`{part}` 指的列“{name}”不存在，各列是 {columns}{hint}")
        }
        DataError::Preference { file, column } => format!(
            "{file}：“{column}”列说明这是偏好数据；这种方法会把差的答案也学进去。请用 train.method = \"dpo\"、\"orpo\"、\"simpo\"（成对）或 \"kto\"（标好坏），或只取好的答案：kind = \"prompt_completion\", user = \"…\", answer = \"…\""
        ),
        DataError::LabelClash { first, second, words } => {
            format!("标签“{first}”和“{second}”写成词语后都是“{words}”；请设 labels = \"as_is\"")
        }
        _ => return None,
    })
}

/// What is wrong with a document; goes on after the file's name.
fn document(problem: &DocumentProblem) -> String {
    match problem {
        DocumentProblem::OtherFormat { format, found } => match found {
            Some(found) => {
                format!("这不是 {format} 文件（看起来是 {found}）；请改正扩展名，或另存为 {format}")
            }
            None => format!("这不是 {format} 文件"),
        },
        DocumentProblem::Broken { format, what } => {
            format!("{format} 文件损坏：{what}；请用原来的程序打开，重新保存")
        }
        DocumentProblem::Encrypted => "它有密码；请另存一份不带密码的".into(),
        DocumentProblem::TooLarge { what, cap } => {
            format!("解开后（{what}）超过 {cap} 字节，像是用来耗尽内存的文件；若是正常文件，请拆小")
        }
        DocumentProblem::TooMany { what, cap } => {
            format!("结构（{what}）超过 {cap}，像是用来拖垮读取程序的文件；若是正常文件，请拆小")
        }
        DocumentProblem::Doctype => {
            "它的 XML 声明了文档类型，办公软件从不这样写，而且可能无限膨胀；不予读取".into()
        }
        DocumentProblem::Scanned { pages } => {
            format!("共 {pages} 页，没有文字：是扫描件或图画；请先做文字识别（OCR），例如 ocrmypdf")
        }
        DocumentProblem::NoText => "里面没有文字".into(),
        DocumentProblem::Encoding { byte, encoding } => {
            format!("第 {byte} 字节不是合法的 {encoding}；请把文件存为 UTF-8")
        }
        DocumentProblem::Binary { byte } => format!("第 {byte} 字节是零：这不是文本文件"),
        DocumentProblem::NotRead { ending } => format!("不读取以“{ending}”结尾的文件"),
        DocumentProblem::NestedArchive => "压缩包里的压缩包不会打开；请先解压".into(),
        DocumentProblem::Unpack { what } => format!("解不开：{what}"),
        DocumentProblem::NotAFile => "它既不是文件也不是文件夹".into(),
        other => other.to_string(),
    }
}

/// What a reader left out although it may matter.
pub fn note(lang: Lang, note: &Note) -> String {
    if lang == Lang::En {
        return note.to_string();
    }
    match note {
        Note::Scanned { pages, of } => format!(
            "{of} 页中有 {} 页只有图、没有文字（扫描件？），未读取：第 {} 页",
            pages.len(),
            page_list(pages)
        ),
        Note::Unmapped { pages, characters } => format!(
            "{} 页上有 {characters} 个字符，字体没有说明是什么字，已略去：第 {} 页",
            pages.len(),
            page_list(pages)
        ),
        Note::RunningLines { lines, example } => {
            format!("略去了页边重复出现的 {lines} 行（页眉、页码），例如“{example}”")
        }
        Note::OtherSheets { read, others } => format!(
            "读取了工作表“{read}”；另有未读取的：{}；要读其中之一，请写 part = \"表名\"",
            others.join("、")
        ),
    }
}

fn row(problem: &RowProblem) -> Option<String> {
    Some(match problem {
        RowProblem::BrokenJson { column, what } => format!("第 {column} 列处 JSON 断了：{what}"),
        RowProblem::NotAnObject { .. } => "这一行是 JSON，但不是带字段的对象".into(),
        RowProblem::Document(problem) => document(problem),
        RowProblem::DuplicateKey { key } => format!("键“{key}”在这一行里出现了两次"),
        RowProblem::FieldCount { expected, found } => {
            format!("这一行有 {found} 个字段，第一行有 {expected} 个")
        }
        RowProblem::MissingInput { field } => format!("字段“{field}”缺失或为空"),
        RowProblem::MissingAnswer { field } => format!("这一行没有答案：字段“{field}”缺失或为空"),
        RowProblem::AnswerNotAnOption { answer, options } => {
            format!("答案“{answer}”不是 {options} 个选项之一，也不是选项的字母或序号")
        }
        RowProblem::UnknownLabel { label, nearest } => {
            let hint = nearest.as_ref().map_or_else(String::new, |near| format!("；是不是 \"{near}\"？"));
            format!("标签 \"{label}\" 在训练数据里从未出现{hint}")
        }
        _ => return None,
    })
}

fn tokens(e: &TokenError) -> Option<String> {
    Some(match e {
        TokenError::TooLong { count, rows, max_tokens, longest, ids } => format!(
            "{rows} 行中有 {count} 行超过 {max_tokens} 个词元，最长 {longest} 个（{ids}）；请调大 train.max_len，或设 data.over_long = \"cut\" 或 \"drop\""
        ),
        TokenError::PromptTooLong { count, rows, max_tokens, ids } => format!(
            "{rows} 行中有 {count} 行光是提示就占满 {max_tokens} 个词元（{ids}），截断后没有可学的；请调大 train.max_len、缩短提示，或设 data.over_long = \"drop\""
        ),
        TokenError::Untrained { count, rows, ids } => format!(
            "{rows} 行中有 {count} 行没有要学的词元（{ids}）：从中学不到东西；请给它们补上答案，或去掉"
        ),
        _ => return None,
    })
}
