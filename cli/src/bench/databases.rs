//! Databases for measurements: each begins with an empty one of its own, so that nothing of an
//! earlier one is in the way. They go with [`Databases`].

use std::cell::RefCell;
use std::thread;

use anyhow::{Context as _, Result, anyhow};
use mysql_async::prelude::Queryable as _;
use mysql_async::{Conn, Opts};
use tokio::runtime::Builder;

/// A server of databases, and what was made on it.
#[derive(Debug)]
pub(super) struct Databases {
    /// `mysql://user:password@host:port`
    server: String,
    parameters: Option<String>,
    made: RefCell<Vec<String>>,
}

impl Databases {
    /// `url` as in `mysql://user:password@host:3306`; the user has to be allowed to create
    /// databases. A database in the URL is left alone.
    pub(super) fn on(url: &str) -> Result<Self> {
        let parts = url.split_once("://").filter(|(scheme, _)| *scheme == "mysql");
        let (_, rest) = parts.context("--database is written mysql://user:password@host:port")?;
        let (rest, parameters) = match rest.split_once('?') {
            Some((rest, parameters)) => (rest, Some(parameters.to_owned())),
            None => (rest, None),
        };
        let authority = rest.split('/').next().unwrap_or_default();
        Ok(Self { server: format!("mysql://{authority}"), parameters, made: RefCell::default() })
    }

    /// The URL of a new, empty database.
    pub(super) fn fresh(&self) -> Result<String> {
        let name = format!("sterna_bench_{:08x}", rand::random::<u32>());
        self.ask(&format!("CREATE DATABASE {name}"))
            .context("no database can be made on the server in --database")?;
        let url = self.url(&name);
        self.made.borrow_mut().push(name);
        Ok(url)
    }

    fn url(&self, name: &str) -> String {
        let parameters = self.parameters.as_ref();
        let parameters = parameters.map(|it| format!("?{it}")).unwrap_or_default();
        format!("{}/{name}{parameters}", self.server)
    }

    /// On a thread of its own: whoever asks may be within a runtime.
    fn ask(&self, statement: &str) -> Result<()> {
        let opts = Opts::from_url(&self.url(""))?;
        let ask = || {
            let runtime = Builder::new_current_thread().enable_all().build()?;
            runtime.block_on(async {
                let mut connection = Conn::new(opts).await?;
                connection.query_drop(statement).await?;
                anyhow::Ok(connection.disconnect().await?)
            })
        };
        let asked = thread::scope(|scope| scope.spawn(ask).join());
        asked.map_err(|_| anyhow!("the question to the database server broke off"))?
    }
}

impl Drop for Databases {
    fn drop(&mut self) {
        for name in self.made.borrow().iter() {
            if let Err(error) = self.ask(&format!("DROP DATABASE {name}")) {
                crate::output::complain(&error.context(format!("database {name} is left behind")));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_database_takes_the_place_of_that_in_the_url() {
        for (given, made) in [
            ("mysql://a:b@host:3306", "mysql://a:b@host:3306/new"),
            ("mysql://a@host/", "mysql://a@host/new"),
            ("mysql://a@host/old?require_ssl=true", "mysql://a@host/new?require_ssl=true"),
        ] {
            assert_eq!(Databases::on(given).unwrap().url("new"), made);
        }
        assert!(Databases::on("redis://host").is_err());
    }
}
