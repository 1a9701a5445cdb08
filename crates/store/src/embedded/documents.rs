//! Documents: rows of a table of their own, with one counter for all versions.

use rusqlite::{Connection, OptionalExtension, Row, params};

use super::{
    database,
    write::{Writer, begin},
};
use crate::{Document, Expected};

/// Key in `meta`: the version given last.
const VERSION: &str = "document_version";

fn read(row: &Row<'_>) -> rusqlite::Result<Document> {
    let version = row.get::<_, i64>(1)? as u64;
    Ok(Document { name: row.get(0)?, version, body: row.get(2)? })
}

/// The document of that name.
pub(super) fn document(connection: &Connection, name: &str) -> rusqlite::Result<Option<Document>> {
    if !database::has_table(connection, "document")? {
        return Ok(None);
    }
    let sql = "SELECT name, version, body FROM document WHERE name = ?";
    connection.prepare_cached(sql)?.query_row([name], read).optional()
}

/// Documents whose names begin with `prefix` and come behind `after`, by name.
pub(super) fn documents(
    connection: &Connection,
    prefix: &str,
    after: Option<&str>,
    limit: usize,
) -> rusqlite::Result<Vec<Document>> {
    if !database::has_table(connection, "document")? {
        return Ok(Vec::new());
    }
    // Text is compared by its bytes, so names with the prefix stand together.
    let sql = "SELECT name, version, body FROM document
               WHERE name >= ?1 AND (?2 IS NULL OR name > ?2) ORDER BY name";
    let mut query = connection.prepare_cached(sql)?;
    let rows = query.query_map(params![prefix, after], read)?;
    let mut found = Vec::new();
    for row in rows.take(limit) {
        let document = row?;
        if !document.name.starts_with(prefix) {
            break;
        }
        found.push(document);
    }
    Ok(found)
}

impl Writer {
    /// Puts (or removes, without a body) a document; `None` when something else is there than was
    /// expected.
    pub(super) fn put_document(
        &mut self,
        name: &str,
        body: Option<&[u8]>,
        expected: Expected,
    ) -> rusqlite::Result<Option<u64>> {
        let transaction = begin(&mut self.connection)?;
        let there = document(&transaction, name)?.map(|document| document.version);
        if !expected.is(there) {
            return Ok(None);
        }
        let version = super::read_meta(&transaction, VERSION)?.unwrap_or_default() + 1;
        let sql = "INSERT OR REPLACE INTO meta (key, value) VALUES (?, ?)";
        transaction.prepare_cached(sql)?.execute(params![VERSION, version])?;
        match body {
            Some(body) => {
                let sql = "INSERT OR REPLACE INTO document (name, version, body) VALUES (?, ?, ?)";
                transaction.prepare_cached(sql)?.execute(params![name, version, body])?;
            }
            None => {
                let sql = "DELETE FROM document WHERE name = ?";
                transaction.prepare_cached(sql)?.execute([name])?;
            }
        }
        transaction.commit()?;
        Ok(Some(version as u64))
    }
}
