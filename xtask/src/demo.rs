//! `./x demo`.
#[derive(clap::Args)]
pub struct Options {}
pub fn demo(_: &Options) -> anyhow::Result<()> {
    anyhow::bail!("being written")
}
