//! The release archives that the crate `postgresql_embedded` downloads, for a machine that has nothing
//! but Rust.
//!
//! They are read directly: that crate's own fetching part adds a hundred crates and 30 CPU-seconds to a
//! clean build where this adds 14 and 5, retries a host that cannot be reached, and shows no progress
//! outside of `tracing`.

use std::env::consts::{ARCH, OS};
use std::io::Read;
use std::path::{Path, PathBuf};
use std::time::Duration;

use sha2::{Digest, Sha256};

use super::{DOWNLOAD, unpack};
use crate::Error;
use crate::progress::Progress;

pub(super) const NAME: &str = "github.com/theseus-rs/postgresql-binaries";

/// The last release of each major version. Named here and not looked up: the interface for that allows
/// sixty requests an hour from one address, which a shared build machine has used up.
const VERSIONS: [(u32, &str); 5] = [
    (14, "14.23.0"),
    (15, "15.19.0"),
    (16, "16.15.0"),
    (17, "17.11.0"),
    (18, "18.6.0"),
];

/// Several times the size of any of them.
const LIMIT: u64 = 200 << 20;

pub(super) fn fetch(major: u32, folder: &Path, progress: &Progress) -> Result<PathBuf, Error> {
    fetch_from(
        &format!("https://{NAME}/releases/download"),
        major,
        folder,
        progress,
    )
}

fn fetch_from(
    releases: &str,
    major: u32,
    folder: &Path,
    progress: &Progress,
) -> Result<PathBuf, Error> {
    let (_, version) = VERSIONS
        .into_iter()
        .find(|(known, _)| *known == major)
        .ok_or_else(|| Error::new("no release"))?;
    let name = format!("postgresql-{version}-{}", target()?);
    let url = format!("{releases}/{version}/{name}.tar.gz");
    let agent = agent();
    // First the small one: it shows at once whether the host can be reached.
    let published = checksum(&agent, &format!("{url}.sha256"))?;
    let archive = download(&agent, &url, progress)?;
    let found = hex(&Sha256::digest(&archive));
    if found != published {
        return Err(Error::new(format!(
            "{name}.tar.gz has the SHA-256 {found}, not {published}"
        )));
    }
    unpack(archive.as_slice(), folder)?;
    Ok(folder.join(name))
}

/// Which of a release's archives runs here.
fn target() -> Result<String, Error> {
    match OS {
        "linux" if cfg!(target_env = "musl") => Ok(format!("{ARCH}-unknown-linux-musl")),
        "linux" => Ok(format!("{ARCH}-unknown-linux-gnu")),
        "macos" => Ok(format!("{ARCH}-apple-darwin")),
        _ => Err(Error::new(format!("no release for {OS}"))),
    }
}

fn agent() -> ureq::Agent {
    ureq::Agent::config_builder()
        .timeout_resolve(Some(Duration::from_secs(5)))
        .timeout_connect(Some(Duration::from_secs(5)))
        .timeout_recv_response(Some(Duration::from_secs(20)))
        .timeout_recv_body(Some(DOWNLOAD))
        .build()
        .into()
}

fn checksum(agent: &ureq::Agent, url: &str) -> Result<String, Error> {
    let text = agent
        .get(url)
        .call()
        .and_then(|mut response| {
            response
                .body_mut()
                .with_config()
                .limit(4096)
                .read_to_string()
        })
        .map_err(|error| Error::because("cannot be read", error))?;
    text.split_whitespace()
        .map(str::to_ascii_lowercase)
        .find(|word| word.len() == 64 && word.bytes().all(|byte| byte.is_ascii_hexdigit()))
        .ok_or_else(|| Error::new("the release has no SHA-256"))
}

fn download(agent: &ureq::Agent, url: &str, progress: &Progress) -> Result<Vec<u8>, Error> {
    let mut response = agent
        .get(url)
        .call()
        .map_err(|error| Error::because("cannot be read", error))?;
    let length = response.body().content_length();
    let mut archive = Vec::new();
    progress
        .reading(
            response.body_mut().with_config().limit(LIMIT).reader(),
            length,
        )
        .read_to_end(&mut archive)
        .map_err(|error| Error::because("the download broke off", error))?;
    Ok(archive)
}

fn hex(bytes: &[u8]) -> String {
    bytes
        .iter()
        .fold(String::new(), |text, byte| format!("{text}{byte:02x}"))
}

#[cfg(test)]
mod tests;
