//! Copy: everything that is stored into files of a backup and out of them. A line is the body of a record,
//! or a document as JSON; the files are compressed with zstd. The last file that is written says how many
//! lines the others have, so a backup without it is none.

use std::{
    fs::{self, File},
    io::{self, BufRead, BufReader, BufWriter, Write},
    path::Path,
};

use serde::{Deserialize, Serialize, de::DeserializeOwned};
use serde_json::json;

use super::{
    Elastic, body,
    client::Client,
    schema::{self, Indices, SCHEMA_VERSION},
    search::Question,
};
use crate::{Batch, Document, Expected, Mode, Options, Store, StoreError};

/// What says that the backup is whole.
const CONTENTS: &str = "elasticsearch.json";
const SPANS: &str = "spans.zst";
const LINKS: &str = "links.zst";
const GAPS: &str = "gaps.zst";
const DOCUMENTS: &str = "documents.zst";
/// Records written at once when it is restored, and documents read at once.
const PIECE_LEN: usize = 2000;

#[derive(Serialize, Deserialize)]
struct Contents {
    schema: u32,
    spans: u64,
    links: u64,
    gaps: u64,
    documents: u64,
}

/// A document in its file.
#[derive(Serialize, Deserialize)]
struct Line {
    name: String,
    body: String,
}

/// Writes all that is in `store` into `folder`.
pub(super) fn backup(
    store: &Elastic,
    folder: &Path,
    progress: &mut dyn FnMut(f32),
) -> Result<(), StoreError> {
    let Indices { spans, links, gaps, .. } = &store.indices;
    let stats = Store::stats(store)?;
    let all = (stats.spans + stats.links + stats.gaps).max(1) as f32;
    let mut done = 0_u64;
    let mut tell = |count: u64| {
        done += count;
        progress((done as f32 / all).min(1.0));
    };
    let contents = Contents {
        schema: SCHEMA_VERSION,
        spans: records(store, spans, ["start", "id"], &folder.join(SPANS), &mut tell)?,
        links: records(store, links, ["child_start", "key"], &folder.join(LINKS), &mut tell)?,
        gaps: records(store, gaps, ["from", "key"], &folder.join(GAPS), &mut tell)?,
        documents: documents(store, &folder.join(DOCUMENTS))?,
    };
    progress(1.0);
    let path = folder.join(CONTENTS);
    let text = json!(contents).to_string();
    File::create(&path)
        .and_then(|mut file| file.write_all(text.as_bytes()).and_then(|()| file.sync_all()))
        .and_then(|()| File::open(folder)?.sync_all())
        .map_err(failed("write", &path))
}

/// Copies the bodies of all records of `indices`, by `fields`.
fn records(
    store: &Elastic,
    indices: &str,
    fields: [&str; 2],
    path: &Path,
    tell: &mut dyn FnMut(u64),
) -> Result<u64, StoreError> {
    let question = Question {
        indices,
        // Heartbeats have no such field.
        query: json!({"exists": {"field": fields[0]}}),
        sort: json!([{fields[0]: "asc"}, {fields[1]: "asc"}]),
        after: None,
    };
    let mut file = Lines::create(path)?;
    store.searcher().each(question, PIECE_LEN, &mut |hit| {
        file.line(hit.body().as_bytes())?;
        if file.count.is_multiple_of(PIECE_LEN as u64) {
            tell(PIECE_LEN as u64);
        }
        Ok(true)
    })?;
    file.finish()
}

fn documents(store: &Elastic, path: &Path) -> Result<u64, StoreError> {
    let mut file = Lines::create(path)?;
    let mut after: Option<String> = None;
    loop {
        let found = store.documents().list("", after.as_deref(), PIECE_LEN)?;
        for Document { name, body, .. } in &found {
            let line = Line { name: name.clone(), body: body::to_text(body) };
            file.line(json!(line).to_string().as_bytes())?;
        }
        match found.into_iter().nth(PIECE_LEN - 1) {
            Some(last) => after = Some(last.name),
            None => return file.finish(),
        }
    }
}

/// Makes a store of what [`backup`] wrote.
pub(super) fn restore(options: &Options, from: &Path) -> Result<(), StoreError> {
    let refused = |reason: String| StoreError::NoBackup { folder: from.to_owned(), reason };
    let text = fs::read(from.join(CONTENTS));
    let text = text.map_err(|error| refused(format!("{CONTENTS}: {error}")))?;
    let contents: Contents =
        serde_json::from_slice(&text).map_err(|error| refused(format!("{CONTENTS}: {error}")))?;
    if contents.schema > SCHEMA_VERSION {
        let (found, supported) = (contents.schema, SCHEMA_VERSION);
        return Err(StoreError::Newer { place: from.display().to_string(), found, supported });
    }
    // All of it is read once before anything is changed.
    let Contents { spans, links, gaps, documents, .. } = contents;
    for (name, wanted) in [(SPANS, spans), (LINKS, links), (GAPS, gaps), (DOCUMENTS, documents)] {
        let mut found = 0;
        lines(&from.join(name), &mut |_| {
            found += 1;
            Ok(())
        })
        .map_err(|error| refused(error.to_string()))?;
        if found != wanted {
            return Err(refused(format!("{name} has {found} of {wanted} lines")));
        }
    }
    let client = Client::new(&options.elasticsearch)?;
    let indices = Indices::new(&options.elasticsearch.index_prefix);
    if schema::version(&client, &indices)?.is_some() {
        return Err(StoreError::Occupied { place: schema::place(&client, &indices) });
    }
    let store = Elastic::open(options, Mode::Write)?;
    fill(&store, &from.join(SPANS), |batch| &mut batch.spans)?;
    fill(&store, &from.join(LINKS), |batch| &mut batch.links)?;
    fill(&store, &from.join(GAPS), |batch| &mut batch.gaps)?;
    lines(&from.join(DOCUMENTS), &mut |line| {
        let line: Option<Line> = serde_json::from_str(line).ok();
        let document = line.and_then(|line| Some((line.name, body::of_text(&line.body)?)));
        let (name, body) = document.ok_or_else(|| refused(format!("{DOCUMENTS} is damaged")))?;
        store.documents().put(&name, Some(&body), Expected::Any).map(drop)
    })
}

/// Writes the records of a file; those that could not be read when they were copied are left out.
fn fill<T: DeserializeOwned>(
    store: &Elastic,
    path: &Path,
    part: impl Fn(&mut Batch) -> &mut Vec<T>,
) -> Result<(), StoreError> {
    let mut batch = Batch::default();
    lines(path, &mut |line| {
        let records = part(&mut batch);
        records.extend(body::unpack(line));
        if records.len() == PIECE_LEN {
            store.write(&batch)?;
            batch.clear();
        }
        Ok(())
    })?;
    store.write(&batch)
}

/// A file of compressed lines that is being written.
struct Lines<'a> {
    path: &'a Path,
    file: BufWriter<zstd::Encoder<'static, File>>,
    count: u64,
}

impl<'a> Lines<'a> {
    fn create(path: &'a Path) -> Result<Self, StoreError> {
        let file = File::create(path).and_then(|file| zstd::Encoder::new(file, 0));
        let file = BufWriter::new(file.map_err(failed("make", path))?);
        Ok(Self { path, file, count: 0 })
    }

    fn line(&mut self, text: &[u8]) -> Result<(), StoreError> {
        self.count += 1;
        let written = self.file.write_all(text).and_then(|()| self.file.write_all(b"\n"));
        written.map_err(failed("write", self.path))
    }

    /// Returns how many there are, once they are on disk.
    fn finish(self) -> Result<u64, StoreError> {
        let Self { path, file, count } = self;
        file.into_inner()
            .map_err(|error| error.into_error())
            .and_then(zstd::Encoder::finish)
            .and_then(|file| file.sync_all())
            .map_err(failed("write", path))?;
        Ok(count)
    }
}

/// Hands over the lines of a compressed file.
fn lines(
    path: &Path,
    take: &mut dyn FnMut(&str) -> Result<(), StoreError>,
) -> Result<(), StoreError> {
    let file = File::open(path).and_then(zstd::Decoder::new).map_err(failed("read", path))?;
    for line in BufReader::new(file).lines() {
        take(&line.map_err(failed("read", path))?)?;
    }
    Ok(())
}

fn failed(action: &'static str, path: &Path) -> impl Fn(io::Error) -> StoreError {
    move |source| StoreError::Io { action, path: path.to_owned(), source }
}
