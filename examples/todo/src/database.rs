//! The database that was asked for, or a throw-away server.

use bemi_tests::Cluster;

pub(crate) struct Database {
    url: String,
    /// Ends with this program.
    _server: Option<Cluster>,
}

impl Database {
    pub(crate) fn open(url: Option<String>) -> anyhow::Result<Self> {
        if let Some(url) = url {
            return Ok(Self { url, _server: None });
        }
        let server = Cluster::start()?;
        server.create_database("todo")?;
        Ok(Self {
            url: server.url("todo"),
            _server: Some(server),
        })
    }

    pub(crate) fn url(&self) -> &str {
        &self.url
    }
}
