//! A server's address, from a URL.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use percent_encoding::percent_decode_str;
use tokio_postgres::Config;
use tokio_postgres::config::{Host, TargetSessionAttrs};

use crate::error::Error;

/// The port that PostgreSQL listens on unless told otherwise.
const DEFAULT_PORT: u16 = 5432;

/// How long connecting may take where the URL has no `connect_timeout`.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(15);

/// How long a server may leave us without an answer where the URL has no `tcp_user_timeout`.
const PATIENCE: Duration = Duration::from_secs(30);

/// libpq's [`sslmode`](https://www.postgresql.org/docs/current/libpq-ssl.html#LIBPQ-SSL-PROTECTION).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum SslMode {
    Disable,
    Prefer,
    Require,
    VerifyCa,
    VerifyFull,
}

/// Where a server is and who we are there. `Display` leaves the role and the password out.
#[derive(Clone)]
pub(crate) struct Endpoint {
    config: Config,
    ssl_mode: SslMode,
    patience: Duration,
    pub(crate) ssl_root_cert: Option<PathBuf>,
    pub(crate) ssl_cert: Option<PathBuf>,
    pub(crate) ssl_key: Option<PathBuf>,
}

impl Endpoint {
    /// Reads a `postgres://` URL or a `key=value` string, as libpq does; without a role in it, the
    /// role is `PGUSER` or the operating system's user.
    ///
    /// The driver knows the `sslmode`s up to `require` and no certificate files, and takes the
    /// milliseconds of `tcp_user_timeout` for seconds; these are taken out of the URL here.
    pub(crate) fn parse(url: &str) -> Result<Self, Error> {
        let mut endpoint = Self {
            config: Config::new(),
            ssl_mode: SslMode::Prefer,
            patience: PATIENCE,
            ssl_root_cert: None,
            ssl_cert: None,
            ssl_key: None,
        };
        let rest = match url.split_once('?') {
            Some((base, query)) if base.contains("://") => {
                let mut kept = String::new();
                for pair in query.split('&').filter(|pair| !pair.is_empty()) {
                    let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
                    if !endpoint.take(key, &percent_decode_str(value).decode_utf8_lossy())? {
                        kept.push(if kept.is_empty() { '?' } else { '&' });
                        kept.push_str(pair);
                    }
                }
                format!("{base}{kept}")
            }
            _ => url.to_owned(),
        };
        // The driver's own message may quote the URL, and with it the password.
        endpoint.config = rest.parse().map_err(|_| {
            Error::configuration(
                "the database URL is not valid: expected postgres://role:password@host:port/database",
            )
        })?;
        if rest.len() == url.len() {
            endpoint.ssl_mode = match endpoint.config.get_ssl_mode() {
                tokio_postgres::config::SslMode::Disable => SslMode::Disable,
                tokio_postgres::config::SslMode::Require => SslMode::Require,
                _ => SslMode::Prefer,
            };
        }
        if endpoint.config.get_hosts().is_empty() {
            return Err(Error::configuration("the database URL names no host"));
        }
        if endpoint.config.get_user().is_none() {
            let user = ["PGUSER", "USER"]
                .into_iter()
                .find_map(|name| std::env::var(name).ok());
            endpoint.config.user(user.ok_or_else(|| {
                Error::configuration(
                    "the database URL names no role: expected postgres://role@host/database",
                )
            })?);
        }
        Ok(endpoint)
    }

    /// Takes a setting that the driver does not know; `false` if it is none of them.
    fn take(&mut self, key: &str, value: &str) -> Result<bool, Error> {
        let path = || Some(PathBuf::from(value));
        match key {
            "sslmode" => {
                self.ssl_mode = match value {
                    "disable" => SslMode::Disable,
                    "allow" | "prefer" => SslMode::Prefer,
                    "require" => SslMode::Require,
                    "verify-ca" => SslMode::VerifyCa,
                    "verify-full" => SslMode::VerifyFull,
                    _ => {
                        return Err(Error::configuration(
                            "the sslmode of the database URL must be disable, allow, prefer, require, verify-ca or verify-full",
                        ));
                    }
                }
            }
            "tcp_user_timeout" => {
                let millis = value.parse().map_err(|_| {
                    Error::configuration(
                        "the tcp_user_timeout of the database URL must be a number of milliseconds",
                    )
                })?;
                if millis > 0 {
                    self.patience = Duration::from_millis(millis);
                }
            }
            "sslrootcert" => self.ssl_root_cert = path(),
            "sslcert" => self.ssl_cert = path(),
            "sslkey" => self.ssl_key = path(),
            _ => return Ok(false),
        }
        Ok(true)
    }

    pub(crate) fn ssl_mode(&self) -> SslMode {
        self.ssl_mode
    }

    pub(crate) fn connect_timeout(&self) -> Duration {
        self.config
            .get_connect_timeout()
            .copied()
            .unwrap_or(CONNECT_TIMEOUT)
    }

    /// How long the server may leave us without an answer before the connection counts as lost: longer
    /// than a busy one takes for one statement.
    pub(crate) fn patience(&self) -> Duration {
        self.patience
    }

    /// Whether the URL asks for a primary among its hosts.
    pub(crate) fn wants_writable(&self) -> bool {
        self.config.get_target_session_attrs() == TargetSessionAttrs::ReadWrite
    }

    /// The hosts to try, in order.
    pub(crate) fn hosts(&self) -> Vec<(Host, u16)> {
        let ports = self.config.get_ports();
        let port = |index: usize| {
            ports
                .get(index)
                .or(ports.first())
                .copied()
                .unwrap_or(DEFAULT_PORT)
        };
        self.config
            .get_hosts()
            .iter()
            .enumerate()
            .map(|(index, host)| (host.clone(), port(index)))
            .collect()
    }

    /// The driver's configuration for one of the [hosts](Self::hosts); TLS is ours.
    pub(crate) fn config_for(&self, host: &Host, port: u16) -> Config {
        let mut config = Config::new();
        match host {
            Host::Tcp(name) => config.host(name),
            Host::Unix(path) => config.host_path(path),
        };
        config.port(port);
        config
            .user(self.user())
            .dbname(self.database())
            .application_name("bemi");
        if let Some(password) = self.config.get_password() {
            config.password(password);
        }
        if let Some(options) = self.config.get_options() {
            config.options(options);
        }
        config.ssl_mode(tokio_postgres::config::SslMode::Disable);
        config
    }

    pub(crate) fn user(&self) -> &str {
        self.config.get_user().unwrap_or_default()
    }

    pub(crate) fn password(&self) -> &[u8] {
        self.config.get_password().unwrap_or_default()
    }

    /// The database's name; without one in the URL, the role's, as libpq has it.
    pub(crate) fn database(&self) -> &str {
        self.config.get_dbname().unwrap_or_else(|| self.user())
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, (host, port)) in self.hosts().iter().enumerate() {
            let separator = if index == 0 { "" } else { "," };
            match host {
                Host::Tcp(name) if name.contains(':') => write!(f, "{separator}[{name}]:{port}")?,
                Host::Tcp(name) => write!(f, "{separator}{name}:{port}")?,
                Host::Unix(path) => write!(f, "{separator}{}:{port}", path.display())?,
            }
        }
        write!(f, "/{}", self.database())
    }
}

#[cfg(test)]
mod tests;
