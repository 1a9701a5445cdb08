//! Launcher: programs that load the application by its name (gunicorn, uvicorn, puma …), and the
//! titles that they and their workers give themselves.

use super::script::{of_folder, of_module};
use super::{Found, base};
use crate::process::Facts;

/// Programs that take `module:attribute`, or the module after one of [`APP_OPTIONS`].
const PYTHON: &[&str] = &[
    "gunicorn",
    "uvicorn",
    "hypercorn",
    "daphne",
    "granian",
    "waitress-serve",
    "celery",
    "flask",
    "fastapi",
    "rq",
    "dramatiq",
    "arq",
];

/// Programs that serve the folder they are started in.
const IN_FOLDER: &[&str] = &[
    "puma",
    "rails",
    "rackup",
    "unicorn",
    "sidekiq",
    "bundle",
    "rake",
    "thin",
    "artisan",
    "npm",
    "npx",
    "yarn",
    "pnpm",
    "npm-cli.js",
    "yarn.js",
    "nodemon",
    "ts-node",
    "tsx",
    "django-admin",
];

const APP_OPTIONS: &[&str] = &["-A", "--app"];

/// The application that `program` (a script's path or a module) is told to load by `rest`; `None`
/// where it is no launcher.
pub(super) fn find(program: &str, rest: &[String], folder: &str) -> Option<Found> {
    let name = base(program);
    if PYTHON.contains(&name) {
        let named = application(rest).map(|module| of_module(module, folder));
        return Some(named.unwrap_or_else(|| of_folder("", folder)));
    }
    IN_FOLDER.contains(&name).then(|| of_folder("", folder))
}

/// The module among a launcher's arguments.
fn application(arguments: &[String]) -> Option<&str> {
    let option = arguments.iter().enumerate().find_map(|(at, arg)| {
        if APP_OPTIONS.contains(&arg.as_str()) {
            return arguments.get(at + 1).map(String::as_str);
        }
        APP_OPTIONS.iter().find_map(|option| arg.strip_prefix(option)?.strip_prefix('='))
    });
    let with_attribute = || {
        arguments.iter().map(String::as_str).find(|arg| {
            arg.split_once(':').is_some_and(|(module, attribute)| {
                is_module(module) && attribute.starts_with(|c: char| c.is_alphabetic() || c == '_')
            })
        })
    };
    // `gunicorn shop.wsgi`: the module comes last.
    let last = || arguments.last().map(String::as_str).filter(|arg| is_module(arg));
    let app = option.or_else(with_attribute).or_else(last)?;
    app.split(':').next().filter(|module| is_module(module))
}

fn is_module(text: &str) -> bool {
    text.starts_with(|c: char| c.is_alphabetic() || c == '_')
        && text.chars().all(|c| c.is_alphanumeric() || c == '_' || c == '.')
}

/// The name in a title that took the arguments' place: `gunicorn: worker [shop]`,
/// `puma 6.4.0 (tcp://0.0.0.0:3000) [shop]`, `sidekiq 7.2.0 shop [0 of 5 busy]`.
pub(super) fn title(facts: &Facts) -> Found {
    let [title] = facts.arguments.as_slice() else { return Found::Nothing };
    let words: Vec<&str> = title.split_whitespace().collect();
    let [program, _, ..] = words.as_slice() else { return Found::Nothing };
    if program.contains('/') {
        return Found::Nothing;
    }
    if *program == "sidekiq" {
        return words.get(2).map_or(Found::Nothing, |app| Found::named(*app));
    }
    let bracket = words.last().and_then(|word| word.strip_prefix('[')?.strip_suffix(']'));
    match bracket.map(|app| app.split(':').next().unwrap_or(app)) {
        Some(module) if is_module(module) => of_module(module, &facts.folder),
        Some(app) if !app.is_empty() => Found::named(app),
        _ => Found::named(program.trim_end_matches(':')),
    }
}
