//! The database that was asked for, or a throw-away server.

use bemi_tests::Cluster;

pub(crate) struct Database {
    url: String,
    /// Ends with this program.
    server: Option<Cluster>,
}

impl Database {
    /// An empty `url`, as an empty variable gives it, counts as none.
    pub(crate) fn open(url: Option<String>) -> anyhow::Result<Self> {
        if let Some(url) = url.filter(|url| !url.is_empty()) {
            return Ok(Self { url, server: None });
        }
        let server = Cluster::start()?;
        server.create_database("todo")?;
        Ok(Self {
            url: server.url("todo"),
            server: Some(server),
        })
    }

    pub(crate) fn url(&self) -> &str {
        &self.url
    }

    /// The URL for people to copy; one that was given can hold a password, and is not shown.
    pub(crate) fn shown_url(&self) -> &str {
        match self.server {
            Some(_) => &self.url,
            None => "\"$DATABASE_URL\"",
        }
    }
}
