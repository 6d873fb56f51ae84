//! Whom the command trusts: the authority that it is told, or those of the machine.

use std::{path::Path, process::Output, sync::Arc};

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls::{
    ServerConfig,
    pki_types::{PrivateKeyDer, pem::PemObject},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpListener,
    process::Command,
};
use tokio_rustls::TlsAcceptor;

fn authority() -> CertifiedIssuer<'static, KeyPair> {
    let mut params = CertificateParams::new([]).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap()
}

/// A gateway with a certificate for localhost that knows every blob; gives its port.
async fn serve(authority: &CertifiedIssuer<'static, KeyPair>) -> u16 {
    let key = KeyPair::generate().unwrap();
    let leaf = CertificateParams::new(["localhost".to_owned()]).unwrap().signed_by(&key, authority).unwrap();
    let private = PrivateKeyDer::from_pem_slice(key.serialize_pem().as_bytes()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    let config = config.with_no_client_auth().with_single_cert(vec![leaf.der().clone()], private).unwrap();
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            // Who doesn't trust it goes away.
            let Ok(mut stream) = acceptor.accept(stream).await else { continue };
            let mut asked = Vec::new();
            while !asked.ends_with(b"\r\n\r\n") {
                let Ok(byte) = stream.read_u8().await else { break };
                asked.push(byte);
            }
            let answer = b"HTTP/1.1 200 OK\r\nContent-Length: 7\r\nWeft-Digest: blake3=00\r\n\r\n";
            stream.write_all(answer).await.unwrap();
            stream.flush().await.unwrap();
        }
    });
    port
}

async fn stat(port: u16, machine: &Path, told: Option<&Path>) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_weft"));
    command.args(["stat", "ab", "--no-retry", "--gateway", &format!("https://localhost:{port}")]);
    command.env("SSL_CERT_FILE", machine).env_remove("SSL_CERT_DIR");
    if let Some(told) = told {
        command.arg("--ca-file").arg(told);
    }
    command.output().await.unwrap()
}

#[tokio::test]
async fn the_machines_authorities_are_trusted_where_none_is_told() {
    let (public, other) = (authority(), authority());
    let port = serve(&public).await;
    let dir = tempfile::tempdir().unwrap();
    let (public_file, other_file) = (dir.path().join("public.pem"), dir.path().join("other.pem"));
    std::fs::write(&public_file, public.pem()).unwrap();
    std::fs::write(&other_file, other.pem()).unwrap();

    let trusted = stat(port, &public_file, None).await;
    assert!(trusted.status.success(), "{trusted:?}");
    assert!(String::from_utf8_lossy(&trusted.stdout).contains("length  7"), "{trusted:?}");
    // An authority that is told is the only one.
    assert!(stat(port, &other_file, Some(&public_file)).await.status.success());
    for (machine, told) in [(&other_file, None), (&public_file, Some(other_file.as_path()))] {
        let refused = stat(port, machine, told).await;
        assert!(!refused.status.success(), "{refused:?}");
        assert!(String::from_utf8_lossy(&refused.stderr).contains("certificate"), "{refused:?}");
    }
}
