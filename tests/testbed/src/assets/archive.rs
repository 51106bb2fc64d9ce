//! The official envtest archive: etcd, kube-apiserver and kubectl, checked against its pinned hash.

use std::path::PathBuf;
use std::time::Duration;

use sha2::{Digest, Sha512};

use super::cache::Cache;
use super::lower_hex;
use crate::error::{Error, Result};
use crate::{http, tool};

/// The cache folder's name, and the archive's.
pub(super) const NAME: &str = "envtest-v1.36.2-linux-amd64";
const ADDRESS: &str = "https://github.com/kubernetes-sigs/controller-tools/releases/download/envtest-v1.36.2/\
                       envtest-v1.36.2-linux-amd64.tar.gz";
/// From `envtest-releases.yaml` of kubernetes-sigs/controller-tools.
const SHA512: &str = "ea743186c8a799f5cf8faf16969f86189d003cb7d130e0ac4b58789f1e5748dc\
                      f30ebe91c837a10d5ac415383da3e10b9e64d65785c938c23e739781cfb76f08";

/// Short, so that the next source is tried soon without a network.
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
    let client = http::with_provider()
        .connect_timeout(CONNECT_TIMEOUT)
        .read_timeout(STALL_TIMEOUT)
        .build()?;
    let archive = download(&client, ADDRESS).await?;
    unpack(cache, archive, SHA512).await
}

async fn unpack(cache: &Cache, archive: Vec<u8>, sha512: &str) -> Result<PathBuf> {
    let hash = lower_hex(&Sha512::digest(&archive));
    if hash != sha512 {
        return Err(Error::NoControlPlane(format!(
            "{NAME}.tar.gz has the sha512 {hash}, not {sha512}"
        )));
    }
    let staging = cache.staging()?;
    let file = staging.join("archive.tar.gz");
    let failure = || Error::io(format!("cannot write {}", file.display()));
    tokio::fs::write(&file, archive).await.map_err(failure())?;
    // In the archive they are in controller-tools/envtest.
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

async fn download(client: &reqwest::Client, address: &str) -> Result<Vec<u8>> {
    let answer = tokio::time::timeout(ANSWER_TIMEOUT, client.get(address).send())
        .await
        .map_err(|_| Error::NoControlPlane(format!("no answer within {ANSWER_TIMEOUT:?}")))??;
    if !answer.status().is_success() {
        return Err(Error::NoControlPlane(format!("{address} answered {}", answer.status())));
    }
    super::report(&format!("downloading {address}"));
    Ok(answer.bytes().await?.into())
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;

    use super::*;

    fn archive(folder: &std::path::Path) -> Vec<u8> {
        let binaries = folder.join("controller-tools/envtest");
        std::fs::create_dir_all(&binaries).unwrap();
        std::fs::write(binaries.join("etcd"), "the store").unwrap();
        let file = folder.join("a.tar.gz");
        let status = Command::new("tar")
            .arg("-czf")
            .arg(&file)
            .arg("-C")
            .arg(folder)
            .arg("controller-tools")
            .status();
        assert!(status.unwrap().success());
        std::fs::read(file).unwrap()
    }

    #[tokio::test]
    async fn an_archive_with_the_pinned_hash_is_unpacked_into_the_cache() {
        let folder = tempfile::tempdir().unwrap();
        let cache = Cache::at(folder.path().join("cache")).unwrap();
        let archive = archive(folder.path());
        let hash = lower_hex(&Sha512::digest(&archive));
        let unpacked = unpack(&cache, archive, &hash).await.unwrap();
        assert_eq!(unpacked, cache.folder(NAME));
        assert_eq!(std::fs::read_to_string(unpacked.join("etcd")).unwrap(), "the store");
        assert_eq!(
            std::fs::read_dir(&unpacked).unwrap().count(),
            1,
            "the archive itself does not stay"
        );
    }

    #[tokio::test]
    async fn an_archive_with_another_hash_leaves_nothing_in_the_cache() {
        let folder = tempfile::tempdir().unwrap();
        let cache = Cache::at(folder.path().join("cache")).unwrap();
        let error = unpack(&cache, archive(folder.path()), SHA512).await.unwrap_err();
        assert!(error.to_string().contains(SHA512), "{error}");
        assert_eq!(std::fs::read_dir(folder.path().join("cache")).unwrap().count(), 0);
    }

    #[tokio::test]
    async fn a_refused_download_reports_its_status() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = format!("http://{}/a.tar.gz", listener.local_addr().unwrap());
        let refuse = async {
            let (mut connection, _) = listener.accept().await.unwrap();
            let mut request = [0; 1024];
            assert!(connection.read(&mut request).await.unwrap() > 0);
            connection
                .write_all(b"HTTP/1.1 403 Forbidden\r\ncontent-length: 0\r\n\r\n")
                .await
                .unwrap();
        };
        let client = http::loopback_client().build().unwrap();
        let (outcome, ()) = tokio::join!(download(&client, &address), refuse);
        let error = outcome.unwrap_err().to_string();
        assert!(error.contains("403 Forbidden"), "{error}");
    }
}
