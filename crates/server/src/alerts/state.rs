//! State of a rule: each service or error for which it holds, since when, and who was told. One document
//! of the store for each rule, so that any server can go on with it.

use std::collections::BTreeMap;

use deeptrace_model::{Duration, WallTime};
use serde::{Deserialize, Serialize};

/// Instances of one rule, at most; further ones are counted.
const INSTANCES_MAX: usize = 200;
/// How long one that is over is kept for receivers that do not answer.
const RESOLVED_MAX: Duration = Duration::from_secs(24 * 3600);

/// What a rule found.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Finding {
    /// What it is about, by name: `service`, `operation`, `error_type`, `message`, `agent`.
    pub labels: BTreeMap<String, String>,
    /// One sentence for people.
    pub summary: String,
    /// What was measured: a share, seconds, or a count.
    pub value: f64,
}

/// All instances of a rule.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct RuleState {
    /// By what they are about.
    pub instances: BTreeMap<String, Instance>,
    /// Findings for which there was no room.
    pub shed: u64,
    /// When it was last looked at, nanoseconds since the Unix epoch.
    pub evaluated_unix_nano: u64,
    /// Why it could not be looked at.
    pub error: Option<String>,
}

/// One thing for which a rule holds.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Instance {
    /// What was found last.
    #[serde(flatten)]
    pub finding: Finding,
    /// Where it is.
    pub phase: Phase,
    /// Since when it is there, nanoseconds since the Unix epoch.
    pub since_unix_nano: u64,
    /// Since when the rule holds.
    pub started_unix_nano: u64,
    /// What each receiver was told last, and when.
    #[serde(default)]
    pub told: BTreeMap<String, Told>,
}

/// Where an instance is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Phase {
    /// The rule holds, but not for long enough.
    Pending,
    /// It fires.
    Firing,
    /// It has fired and holds no more.
    Resolved,
}

/// What a receiver was told.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Told {
    /// What.
    pub phase: Phase,
    /// When, nanoseconds since the Unix epoch.
    pub unix_nano: u64,
}

impl RuleState {
    /// Takes what the rule found at `now`. What was found for `hold` fires.
    pub fn take(
        &mut self,
        findings: Vec<Finding>,
        hold: Duration,
        receivers: &[&str],
        now: WallTime,
    ) {
        self.evaluated_unix_nano = now.0;
        self.error = None;
        self.shed = 0;
        let mut found: BTreeMap<String, Finding> =
            findings.into_iter().map(|finding| (key(&finding), finding)).collect();
        self.instances.retain(|key, instance| {
            instance.step(found.remove(key), hold, now);
            instance.is_kept(receivers, now)
        });
        for (key, finding) in found {
            if self.instances.len() >= INSTANCES_MAX {
                self.shed += 1;
                continue;
            }
            let mut instance = Instance {
                finding: Finding::default(),
                phase: Phase::Resolved,
                since_unix_nano: now.0,
                started_unix_nano: now.0,
                told: BTreeMap::new(),
            };
            instance.step(Some(finding), hold, now);
            self.instances.insert(key, instance);
        }
    }

    /// Whether `receiver` is to be told something now: what is new has waited for `group_wait`, or what
    /// goes on was told `repeat` ago.
    pub fn is_due(
        &self,
        receiver: &str,
        group_wait: Duration,
        repeat: Duration,
        now: WallTime,
    ) -> bool {
        self.instances.values().any(|instance| {
            let since = |time: u64| Duration(now.0.saturating_sub(time));
            let is_old =
                instance.told.get(receiver).is_some_and(|told| since(told.unix_nano) >= repeat);
            (instance.owes(receiver) && since(instance.since_unix_nano) >= group_wait)
                || (instance.phase == Phase::Firing && is_old)
        })
    }

    /// What a message to `receiver` is about: all that fires, and what is over and was told.
    pub fn to_tell(&self, receiver: &str) -> Vec<(&str, &Instance)> {
        let instances = self.instances.iter().map(|(key, instance)| (key.as_str(), instance));
        let is_told = |it: &Instance| it.phase == Phase::Firing || it.owes(receiver);
        instances.filter(|(_, instance)| is_told(instance)).collect()
    }

    /// `receiver` was told this at `now`.
    pub fn told(&mut self, receiver: &str, told: &[(String, Phase)], now: WallTime) {
        for (key, phase) in told {
            if let Some(instance) = self.instances.get_mut(key) {
                let told = Told { phase: *phase, unix_nano: now.0 };
                instance.told.insert(receiver.to_owned(), told);
            }
        }
    }
}

impl Instance {
    fn step(&mut self, finding: Option<Finding>, hold: Duration, now: WallTime) {
        match (finding, self.phase) {
            (Some(finding), phase) => {
                self.finding = finding;
                if phase == Phase::Resolved {
                    self.started_unix_nano = now.0;
                    self.go(Phase::Pending, now);
                }
                let held = now.0.saturating_sub(self.started_unix_nano);
                if self.phase == Phase::Pending && held >= hold.0 {
                    self.go(Phase::Firing, now);
                }
            }
            (None, Phase::Pending | Phase::Firing) => self.go(Phase::Resolved, now),
            (None, Phase::Resolved) => {}
        }
    }

    fn go(&mut self, phase: Phase, now: WallTime) {
        self.phase = phase;
        self.since_unix_nano = now.0;
    }

    /// What is over is kept until those who know of it are told so, within a bound.
    fn is_kept(&self, receivers: &[&str], now: WallTime) -> bool {
        let is_recent = now.0.saturating_sub(self.since_unix_nano) <= RESOLVED_MAX.0;
        self.phase != Phase::Resolved || is_recent && receivers.iter().any(|it| self.owes(it))
    }

    /// Whether `receiver` knows something else.
    fn owes(&self, receiver: &str) -> bool {
        let told = self.told.get(receiver).map(|told| told.phase);
        match self.phase {
            Phase::Pending => false,
            Phase::Firing => told != Some(Phase::Firing),
            Phase::Resolved => told == Some(Phase::Firing),
        }
    }
}

/// What a finding is about.
fn key(finding: &Finding) -> String {
    let labels: Vec<String> =
        finding.labels.iter().map(|(name, value)| format!("{name}={value:?}")).collect();
    labels.join(",")
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOLD: Duration = Duration::from_secs(60);
    const WAIT: Duration = Duration::from_secs(10);
    const REPEAT: Duration = Duration::from_secs(300);

    fn at(seconds: u64) -> WallTime {
        WallTime(1_700_000_000_000_000_000 + seconds * 1_000_000_000)
    }

    fn finding(service: &str) -> Finding {
        let labels = BTreeMap::from([("service".to_owned(), service.to_owned())]);
        Finding { labels, summary: "bad".to_owned(), value: 0.5 }
    }

    /// Each step: seconds, whether it is found, the phase then (none: forgotten), whether the receiver is
    /// due; it is then told.
    #[test]
    fn an_instance_goes_from_pending_to_firing_to_resolved() {
        let steps = [
            (0, true, Some(Phase::Pending), false),
            (15, true, Some(Phase::Pending), false),
            (30, false, None, false),
            (45, true, Some(Phase::Pending), false),
            (104, true, Some(Phase::Pending), false),
            (105, true, Some(Phase::Firing), false),
            (114, true, Some(Phase::Firing), false),
            (115, true, Some(Phase::Firing), true),
            (130, true, Some(Phase::Firing), false),
            (414, true, Some(Phase::Firing), false),
            (415, true, Some(Phase::Firing), true),
            (500, false, Some(Phase::Resolved), false),
            (505, true, Some(Phase::Pending), false),
            (510, false, Some(Phase::Resolved), false),
            (521, false, Some(Phase::Resolved), true),
            (522, false, None, false),
        ];
        let mut state = RuleState::default();
        for (seconds, is_found, phase, is_due) in steps {
            let now = at(seconds);
            let found = if is_found { vec![finding("cart")] } else { Vec::new() };
            state.take(found, HOLD, &["ops"], now);
            assert_eq!(state.instances.values().next().map(|it| it.phase), phase, "{seconds} s");
            assert_eq!(state.is_due("ops", WAIT, REPEAT, now), is_due, "{seconds} s");
            if is_due {
                let told: Vec<(String, Phase)> = state
                    .to_tell("ops")
                    .iter()
                    .map(|(key, it)| ((*key).to_owned(), it.phase))
                    .collect();
                assert_eq!(told.len(), 1);
                state.told("ops", &told, now);
            }
        }
    }

    #[test]
    fn there_is_a_limit_and_what_is_beyond_is_counted() {
        let mut state = RuleState::default();
        let found = (0..300).map(|n| finding(&n.to_string())).collect();
        state.take(found, HOLD, &[], at(0));
        assert_eq!((state.instances.len(), state.shed), (INSTANCES_MAX, 100));
        // What nobody was told is forgotten at once.
        state.take(Vec::new(), HOLD, &[], at(1));
        assert_eq!((state.instances.len(), state.shed), (0, 0));
    }

    #[test]
    fn a_message_is_about_all_that_fires() {
        let mut state = RuleState::default();
        state.take(vec![finding("a")], Duration(0), &["ops"], at(0));
        let key = state.to_tell("ops")[0].0.to_owned();
        state.told("ops", &[(key, Phase::Firing)], at(0));
        state.take(vec![finding("a"), finding("b")], Duration(0), &["ops"], at(20));
        assert!(!state.is_due("ops", WAIT, REPEAT, at(20)));
        assert!(state.is_due("ops", WAIT, REPEAT, at(30)));
        assert_eq!(state.to_tell("ops").len(), 2);
    }
}
