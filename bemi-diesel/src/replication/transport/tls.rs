//! TLS, of the walsender connection and of ordinary ones: `sslmode` means one thing.

use std::net::IpAddr;

use pgwire_replication::tls::rustls::{MaybeTlsStream, maybe_upgrade_to_tls};
use pgwire_replication::{PgWireError, SslMode as WireSslMode, TlsConfig};
use tokio::net::TcpStream;

use crate::error::{Error, ErrorKind};
use crate::postgres::{Endpoint, SslMode};

/// Opens a connection to `host` and negotiates TLS as the endpoint's `sslmode` asks.
pub(crate) async fn connect(
    host: &str,
    port: u16,
    endpoint: &Endpoint,
) -> Result<MaybeTlsStream, Error> {
    let connecting = async |tls: TlsConfig| {
        let tcp = TcpStream::connect((host, port)).await?;
        // Else a small packet waits until the one before it is acknowledged: 40 ms each time.
        tcp.set_nodelay(true)?;
        maybe_upgrade_to_tls(tcp, &tls, host).await
    };
    let mut config = tls(endpoint, host);
    let mut outcome = connecting(config.clone()).await;
    if let Err(error) = &outcome
        && let Some(name) = certified_name(endpoint, error)
    {
        config.sni_hostname = Some(name);
        outcome = connecting(config).await;
    }
    outcome.map_err(|error| {
        let kind = ErrorKind::Connect {
            endpoint: endpoint.to_string(),
        };
        match error {
            PgWireError::Io(error) => Error::with_source(kind, error),
            error => Error::with_source(kind, error),
        }
    })
}

/// The name that the server's certificate holds, where `sslmode` leaves it open and a refusal tells it.
///
/// `verify-ca` trusts the chain, which comes first, whatever the name. The crate means that too, but
/// knows only an older form of the refusal: asked for a name that is in the certificate, it accepts it.
pub(super) fn certified_name(endpoint: &Endpoint, error: &PgWireError) -> Option<String> {
    let PgWireError::Tls(text) = error else {
        return None;
    };
    if tls(endpoint, "").mode != WireSslMode::VerifyCa {
        return None;
    }
    let (_, names) = text.split_once("certificate is only valid for ")?;
    let (_, name) = names.split_once("DnsName(\"")?;
    let (name, _) = name.split_once('"')?;
    Some(name.replace('*', "any"))
}

pub(super) fn tls(endpoint: &Endpoint, host: &str) -> TlsConfig {
    let mode = match endpoint.ssl_mode() {
        SslMode::Disable => WireSslMode::Disable,
        SslMode::Prefer => WireSslMode::Prefer,
        // As libpq has it: with a root certificate at hand, `require` verifies the chain.
        SslMode::Require if endpoint.ssl_root_cert.is_none() => WireSslMode::Require,
        SslMode::Require | SslMode::VerifyCa => WireSslMode::VerifyCa,
        SslMode::VerifyFull => WireSslMode::VerifyFull,
    };
    TlsConfig {
        mode,
        ca_pem_path: endpoint.ssl_root_cert.clone(),
        // The crate refuses to verify an address, which certificates can hold too, unless told outright.
        sni_hostname: host.parse::<IpAddr>().is_ok().then(|| host.to_owned()),
        client_cert_pem_path: endpoint.ssl_cert.clone(),
        client_key_pem_path: endpoint.ssl_key.clone(),
    }
}
