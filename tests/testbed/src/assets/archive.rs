//! The official envtest archive: etcd, kube-apiserver and kubectl, checked against its pinned hash.

use std::path::PathBuf;
use std::time::Duration;

use sha2::{Digest, Sha512};

use super::cache::Cache;
use crate::error::{Error, Result};
use crate::{http, tool};

/// The cache folder's name, and the archive's.
pub(super) const NAME: &str = "envtest-v1.36.2-linux-amd64";
const ADDRESS: &str = "https://github.com/kubernetes-sigs/controller-tools/releases/download/envtest-v1.36.2";
/// From `envtest-releases.yaml` of kubernetes-sigs/controller-tools.
const SHA512: &str = "ea743186c8a799f5cf8faf16969f86189d003cb7d130e0ac4b58789f1e5748dc\
                      f30ebe91c837a10d5ac415383da3e10b9e64d65785c938c23e739781cfb76f08";

/// Without a network nobody shall wait for it: the next source is tried soon.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);
const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);
const STALL_TIMEOUT: Duration = Duration::from_secs(20);

/// Downloads, checks and unpacks the archive into the cache. Only under the cache's lock.
pub(super) async fn fetch(cache: &Cache) -> Result<PathBuf> {
    if (std::env::consts::OS, std::env::consts::ARCH) != ("linux", "x86_64") {
        return Err(Error::NoControlPlane(
            "its hash is pinned for linux-amd64 only".to_owned(),
        ));
    }
    let archive = download(&format!("{ADDRESS}/{NAME}.tar.gz")).await?;
    let hash: String = Sha512::digest(&archive)
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect();
    if hash != SHA512 {
        return Err(Error::NoControlPlane(format!(
            "{NAME}.tar.gz has the sha512 {hash}, not {SHA512}"
        )));
    }
    let staging = cache.staging()?;
    let file = staging.join("archive.tar.gz");
    let failure = || Error::io(format!("cannot write {}", file.display()));
    tokio::fs::write(&file, archive).await.map_err(failure())?;
    let arguments = [
        "-xzf".into(),
        file.clone().into(),
        "-C".into(),
        staging.clone().into(),
        "--strip-components=2".into(),
    ];
    tool::run("tar".as_ref(), arguments.into(), Vec::new(), &staging, None)
        .await?
        .success()?;
    tokio::fs::remove_file(&file).await.map_err(failure())?;
    cache.publish(&staging, NAME)
}

async fn download(address: &str) -> Result<Vec<u8>> {
    let client = http::with_provider()
        .connect_timeout(CONNECT_TIMEOUT)
        .read_timeout(STALL_TIMEOUT)
        .build()?;
    let answer = tokio::time::timeout(ANSWER_TIMEOUT, client.get(address).send())
        .await
        .map_err(|_| Error::NoControlPlane(format!("no answer within {ANSWER_TIMEOUT:?}")))??;
    if !answer.status().is_success() {
        return Err(Error::NoControlPlane(format!("{address} answered {}", answer.status())));
    }
    super::tell(&format!("downloading {address}"));
    Ok(answer.bytes().await?.into())
}
