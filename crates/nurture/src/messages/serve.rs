//! The service and its store.
use std::error::Error;

use nurture_serve::ServeError;
use nurture_serve::store::StoreError;

use super::system;

pub(super) fn zh(error: &(dyn Error + 'static)) -> Option<String> {
    if let Some(e) = error.downcast_ref::<StoreError>() {
        return Some(store(e));
    }
    Some(match error.downcast_ref::<ServeError>()? {
        ServeError::OpenWithoutKey(address) => {
            format!("其他机器可以访问 {address}：必须有 API 密钥（或改为监听 127.0.0.1）")
        }
        ServeError::Listen { address, source } => format!("无法监听 {address}：{}", system(source)),
        ServeError::Store(e) => store(e),
        ServeError::Tls { path, why } => format!("{}：证书或密钥不可用：{why}", path.display()),
        ServeError::Start(e) => format!("无法启动：{}", system(e)),
    })
}

fn store(error: &StoreError) -> String {
    match error {
        StoreError::Open { path, why } => format!("{}：无法打开服务库：{why}", path.display()),
        StoreError::Foreign { path } => {
            format!("{}：这是其他程序的 SQLite 文件；请为服务库另选文件", path.display())
        }
        StoreError::Newer { path, found, known } => {
            format!("{}：服务库的版本是 {found}，本程序只认识到 {known}；请使用更新的程序", path.display())
        }
        StoreError::Missing { what, id } => {
            let what = match *what {
                "conversation" => "对话",
                "message" | "answer" => "消息",
                "response" => "响应",
                "key" => "密钥",
                "key in use" => "有效密钥",
                other => other,
            };
            format!("没有这个{what}：`{id}`")
        }
        StoreError::Invalid { what, why } => format!("{what}：{why}"),
        StoreError::File { path, source } => format!("{}：{}", path.display(), system(source)),
        StoreError::Sql(e) => format!("服务库：{e}"),
    }
}
