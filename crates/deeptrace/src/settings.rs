//! The configuration of a running process: shown, changed and read again. What changes is put into
//! effect only when all of it makes sense.

use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::config::{Loaded, Loader, takes_effect};
use deeptrace_http::{Applied, Settings};
use serde_json::{Value, json};

/// Puts a configuration into effect, as far as that goes without a restart.
pub type Apply = Box<dyn Fn(&Loaded) -> Result<(), String> + Send + Sync>;

/// The configuration of this process.
pub struct Running {
    loader: Loader,
    apply: Apply,
    state: Mutex<State>,
}

struct State {
    loaded: Loaded,
    /// What the API has changed since the start or the last reload.
    changes: Value,
}

impl Running {
    /// Runs with `loaded`, which `loader` has made.
    pub fn new(loader: Loader, loaded: Loaded, apply: Apply) -> Self {
        let state = Mutex::new(State { loaded, changes: json!({}) });
        Self { loader, apply, state }
    }

    /// Loads with `changes` on top, applies, and only then remembers. What keys name (certificates)
    /// may be new although the keys are not: `is_reload` applies in any case.
    fn change(
        &self,
        mut state: MutexGuard<'_, State>,
        changes: Value,
        is_reload: bool,
    ) -> Result<Applied, String> {
        let loaded = self.loader.load(Some(&changes)).map_err(|error| error.to_string())?;
        let keys = state.loaded.changed(&loaded);
        if is_reload || keys.iter().any(|key| takes_effect(key) == "live") {
            (self.apply)(&loaded)?;
        }
        let (live, rest): (Vec<String>, Vec<String>) =
            keys.into_iter().partition(|key| takes_effect(key) == "live");
        let (needs_restart, later): (Vec<String>, Vec<String>) =
            rest.into_iter().partition(|key| takes_effect(key) == "restart");
        let later = later.into_iter();
        let notes = later.map(|key| format!("{key}: accepted, not in effect in this version"));
        let applied = Applied { applied: live, needs_restart, notes: notes.collect() };
        tracing::info!(applied = ?applied.applied, needs_restart = ?applied.needs_restart,
            "the configuration has changed");
        *state = State { loaded, changes };
        Ok(applied)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Settings for Running {
    fn show(&self) -> Value {
        let state = self.lock();
        json!({"file": state.loaded.file, "config": state.loaded.rows()})
    }

    fn update(&self, changes: Value) -> Result<Applied, String> {
        let state = self.lock();
        if !changes.is_object() {
            return Err("give an object that is nested like deeptrace.toml".to_owned());
        }
        let mut all = state.changes.clone();
        put(&mut all, changes);
        let mut applied = self.change(state, all, false)?;
        applied.notes.push("until the next start or reload; deeptrace.toml keeps it".to_owned());
        Ok(applied)
    }

    /// The file is the truth again: what the API has changed is forgotten.
    fn reload(&self) -> Result<Applied, String> {
        self.change(self.lock(), json!({}), true)
    }
}

/// Puts `over` on `tree`, table by table.
fn put(tree: &mut Value, over: Value) {
    match (tree, over) {
        (Value::Object(tree), Value::Object(over)) => {
            for (name, value) in over {
                put(tree.entry(name).or_insert(Value::Null), value);
            }
        }
        (tree, over) => *tree = over,
    }
}
