//! The `causeway` command.
use std::sync::Arc;
fn main() -> anyhow::Result<()> {
    tracing_subscriber::fmt().with_writer(std::io::stderr).init();
    let args: Vec<String> = std::env::args().collect();
    let loaded = causeway_config::load(std::path::Path::new(&args[2]))?;
    if args[1] == "certs" {
        let regions: Vec<_> = loaded.plan.regions().iter().map(|r| r.id.clone()).collect();
        causeway::certs::generate(loaded.plan.fleet(), &regions, std::path::Path::new(&args[3]))?;
        return Ok(());
    }
    let rt = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let (tx, rx) = tokio::sync::watch::channel(false);
    rt.block_on(async move {
        tokio::spawn(async move {
            let mut term = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate()).unwrap();
            term.recv().await; tx.send_replace(true); std::future::pending::<()>().await });
        causeway::app::run(Arc::new(loaded.plan), causeway_proto::id::RegionId::new(&args[3])?, rx).await
    })
}
