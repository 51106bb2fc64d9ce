//! Runs the stories of many cells in one world at once: without a kill, or with one kill that hits each cell at its own
//! boundary.

use std::time::Duration;

use futures::future::join_all;
use serde_json::{Value, json};
use vpn_operator_testbed::{ApiProxy, ApiRequest, Hold, Moment, eventually, figures};
use vpn_simulator::admin::{FaultName, FaultRequest, HeldList, HeldRequest, LogEntry, LogPage};

use super::boundary::{Boundary, To, operation, sort};
use super::cell::{Cell, request, text};
use super::story::{End, FIRST_PASSWORD, FOREIGN_PASSWORD, SECOND_PASSWORD, Story};
use super::verdict::{Course, Kill};
use crate::operator::world::{DEADLINE, Options, World, condition};

/// Longer than all cells together need to reach their boundaries; otherwise a request would time out before the kill.
const REQUEST_TIMEOUT: &str = "--request-timeout=60s";

/// Less than the operator's time limit for a reconcile, whose end would abandon the held request.
const FREEZE_DEADLINE: Duration = Duration::from_secs(100);

/// How long no operator runs after a kill.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Pause {
    /// The next operator starts at once: as far as it knows, requests in progress may still take effect.
    None,
    /// Ten minutes by the cloud's clock: no request is in progress any more.
    PastEveryDeadline,
}

/// See the module.
pub(super) struct Batch {
    world: World,
    proxy: ApiProxy,
    cells: Vec<Cell>,
    /// The objects at the start of their stories; null if there was none.
    begun: Vec<Value>,
}

/// Where the stories begin: earlier requests are not part of them.
struct Marks {
    call: u64,
    write: u64,
}

/// The held request of a cell.
#[derive(Clone, Debug)]
pub(super) enum Frozen {
    Call(HeldRequest),
    Write(ApiRequest),
}

impl Batch {
    /// Brings every cell to the start of its story.
    pub(super) async fn prepare(mut cells: Vec<Cell>) -> Self {
        let mut options = Options::with(["--resync-period=0", "--leader-elect=false", REQUEST_TIMEOUT]);
        options.stopped = true;
        let mut world = World::with(options).await;
        let proxy = world.proxy();
        world.kubeconfig = proxy.kubeconfig().to_owned();
        for password in [FIRST_PASSWORD, SECOND_PASSWORD, FOREIGN_PASSWORD] {
            world.sentinels.add(password);
        }
        join_all(cells.iter_mut().map(|cell| cell.wait_until_available(&world))).await;
        world.start_operator().await;
        join_all(cells.iter().map(|cell| cell.begin(&world))).await;
        let mut batch = Self {
            world,
            proxy,
            begun: vec![Value::Null; cells.len()],
            cells,
        };
        let is_begun = |cell: &Cell, object: &Value| !cell.story.begins_with_an_object() || is_ready(object);
        batch.begun = batch.wait_for_all("the stories can begin", is_begun).await;
        batch.ask_all("begun").await;
        join_all(batch.cells.iter().map(|cell| cell.before(&batch.world))).await;
        batch
    }

    /// Runs the stories. Returns the course of each.
    pub(super) async fn run(self) -> Vec<Course> {
        let marks = self.marks().await;
        join_all(self.cells.iter().map(|cell| cell.act(&self.world))).await;
        self.wait_until_idle().await;
        for cell in self.cells.iter().filter(|cell| cell.story.end() != End::One) {
            // This Event is created after the object is deleted.
            cell.objects(&self.world).wait_for_event(&cell.name, "Deleted").await;
        }
        self.conclude(&marks, Vec::new()).await
    }

    /// Runs the stories up to these boundaries, kills the operator there, and starts another.
    pub(super) async fn run_with_a_kill(mut self, at: &[Boundary], pause: Pause) -> Vec<Course> {
        let marks = self.marks().await;
        let mut holds: Vec<Option<Hold>> = Vec::new();
        for (cell, boundary) in self.cells.iter().zip(at) {
            holds.push(self.arm(cell, boundary).await);
        }
        join_all(self.cells.iter().map(|cell| cell.act(&self.world))).await;
        let frozen = self.wait_until_frozen(&marks, &holds, at).await;
        self.world.kill_operator();
        let mut kills = Vec::new();
        let (calls, writes) = self.sent_since(&marks).await;
        for (cell, frozen) in self.cells.iter().zip(frozen) {
            assert_met(cell, &frozen, &calls, &writes);
            let object = cell.objects(&self.world).get_or_null(&cell.name).await;
            let resets = cell
                .own(&self.world)
                .await
                .first()
                .map(|own| own["password_resets"].clone());
            kills.push(Kill {
                frozen,
                object,
                resets,
                last_call: calls.last().map(|call| call.sequence).unwrap_or_default(),
            });
        }
        // A request that is held before its effect never takes effect.
        drop(holds);
        self.world.simulator.release(&json!({"drop": true})).await.unwrap();
        if pause == Pause::PastEveryDeadline {
            let clock = json!({"skew_ms": 600_000});
            self.world.simulator.put::<Value>("clock", &clock).await.unwrap();
        }
        self.world.start_operator().await;
        self.wait_until_idle().await;
        self.conclude(&marks, kills).await
    }

    async fn arm(&self, cell: &Cell, boundary: &Boundary) -> Option<Hold> {
        match boundary.to {
            To::Cloud => {
                let hold = FaultRequest {
                    operation: Some(boundary.what.clone()),
                    access_key: Some(cell.access_key.clone()),
                    skip: boundary.nth as u64,
                    commit: boundary.moment == Moment::After,
                    ..FaultRequest::once(FaultName::Hold)
                };
                self.world.simulator.add_fault(&hold).await.unwrap();
                None
            }
            To::Cluster => {
                let (cell, namespace) = (cell.clone(), self.world.namespace.clone());
                let what = boundary.what.clone();
                let hold = self.proxy.hold(boundary.moment, boundary.nth, move |write| {
                    write.namespace.as_deref() == Some(namespace.as_str()) && cell.wrote(write) && sort(write) == what
                });
                Some(hold)
            }
        }
    }

    async fn wait_until_frozen(&self, marks: &Marks, holds: &[Option<Hold>], at: &[Boundary]) -> Vec<Frozen> {
        let result = eventually("every story is held at its boundary", FREEZE_DEADLINE, async || {
            let (calls, writes) = self.sent_since(marks).await;
            let HeldList { held, .. } = self
                .world
                .simulator
                .get("held")
                .await
                .map_err(|error| error.to_string())?;
            let of_cell = |(cell, hold): (&Cell, &Option<Hold>)| {
                if let Some(hold) = hold {
                    return hold.held().pop().map(Frozen::Write);
                }
                let of_cell = |held: &&HeldRequest| held.access_key.as_ref() == Some(&cell.access_key);
                held.iter().find(of_cell).cloned().map(Frozen::Call)
            };
            let frozen: Vec<Option<Frozen>> = self.cells.iter().zip(holds).map(of_cell).collect();
            let missing = frozen
                .iter()
                .zip(self.cells.iter().zip(at))
                .filter(|(held, _)| held.is_none());
            let missing: Vec<String> = missing
                .map(|(_, (cell, boundary))| {
                    let calls = calls
                        .iter()
                        .filter(|call| call.access_key.as_ref() == Some(&cell.access_key));
                    let calls: Vec<String> = calls.map(operation).collect();
                    let writes: Vec<String> = writes.iter().filter(|write| cell.wrote(write)).map(sort).collect();
                    format!("{:?} at {boundary:?}, but sent {calls:?} and {writes:?}", cell.story)
                })
                .collect();
            if missing.is_empty() {
                Ok(frozen.into_iter().flatten().collect())
            } else {
                Err(format!("these are not: {missing:#?}"))
            }
        });
        result
            .await
            .unwrap_or_else(|error| panic!("{error}\n{}", self.world.log_tail()))
    }

    /// Waits until every object has the final state of its story.
    async fn wait_until_idle(&self) {
        let begun = |cell: &Cell| {
            let at = self.cells.iter().position(|other| other.name == cell.name);
            at.map(|at| self.begun[at].clone()).unwrap_or_default()
        };
        self.wait_for_all("every story has ended", |cell, object| {
            let (status, before) = (&object["status"], &begun(cell)["status"]);
            match cell.story {
                story if story.end() != End::One => object.is_null(),
                Story::ChangePassword => is_ready(object) && status["password"] != before["password"],
                Story::RecreateGateway | Story::RecreateUser => is_ready(object) && status["id"] != before["id"],
                _ => is_ready(object),
            }
        })
        .await;
    }

    /// Waits until the object of every cell matches, and returns them all. They are read by lists: watches of single
    /// objects would overload the apiserver.
    async fn wait_for_all(&self, awaited: &str, fits: impl Fn(&Cell, &Value) -> bool) -> Vec<Value> {
        let result = eventually(awaited, DEADLINE * 3, async || {
            let mut all = self.world.gateway_objects().list().await;
            all.extend(self.world.users().list().await);
            let objects: Vec<Value> = self
                .cells
                .iter()
                .map(|cell| {
                    let named = all.iter().find(|object| object["metadata"]["name"] == *cell.name);
                    named.cloned().unwrap_or_default()
                })
                .collect();
            let unfit = self
                .cells
                .iter()
                .zip(&objects)
                .filter(|(cell, object)| !fits(cell, object));
            let unfit: Vec<String> = unfit
                .map(|(cell, object)| format!("{} ({:?}): {}", cell.name, cell.story, object["status"]))
                .collect();
            if unfit.is_empty() {
                Ok(objects)
            } else {
                Err(format!("not these {}:\n{}", unfit.len(), unfit.join("\n")))
            }
        });
        result
            .await
            .unwrap_or_else(|error| panic!("{error}\n{}", self.world.log_tail()))
    }

    /// Requests a reconcile of every object and waits until that has read the cloud. Reconciles of one object are
    /// sequential, so no earlier one is still running then.
    async fn ask_all(&self, why: &str) {
        let mark = self.world.mark().await;
        let mut asked = Vec::new();
        for cell in &self.cells {
            let objects = cell.objects(&self.world);
            if !objects.get_or_null(&cell.name).await.is_null() {
                objects.patch(&cell.name, request(why)).await;
                asked.push(cell);
            }
        }
        let result = eventually("every object was read", DEADLINE, async || {
            let log: LogPage = self
                .world
                .simulator
                .log_since(mark)
                .await
                .map_err(|error| error.to_string())?;
            let was_read = |cell: &Cell| {
                let reads = log.requests.iter().filter(|call| call.finished && call.method == "GET");
                reads
                    .filter(|call| call.access_key.as_ref() == Some(&cell.access_key))
                    .count()
                    > 0
            };
            let unread: Vec<&str> = asked
                .iter()
                .filter(|cell| !was_read(cell))
                .map(|cell| cell.name.as_str())
                .collect();
            if unread.is_empty() {
                Ok(())
            } else {
                Err(format!("not {unread:?}"))
            }
        });
        result
            .await
            .unwrap_or_else(|error| panic!("{error}\n{}", self.world.log_tail()));
    }

    async fn marks(&self) -> Marks {
        Marks {
            call: self.world.mark().await,
            write: self.proxy.last_number(),
        }
    }

    async fn sent_since(&self, marks: &Marks) -> (Vec<LogEntry>, Vec<ApiRequest>) {
        let log: LogPage = self.world.simulator.log_since(marks.call).await.unwrap();
        (log.requests, self.proxy.requests_since(marks.write))
    }

    /// Returns the course of each story. Requests another reconcile, which must not change an object at rest.
    async fn conclude(self, marks: &Marks, kills: Vec<Kill>) -> Vec<Course> {
        let at_rest = self.marks().await;
        self.ask_all("ended").await;
        let (calls, writes) = self.sent_since(marks).await;
        let mut kills = kills.into_iter();
        let mut courses = Vec::new();
        for cell in &self.cells {
            let own = cell.own(&self.world).await;
            let mut password = None;
            if let (Some(value), [own]) = (cell.story.password(), own.as_slice()) {
                password = Some(
                    self.world
                        .simulator
                        .is_password(&text(&own["id"]), value)
                        .await
                        .unwrap(),
                );
            }
            let of_cell = |call: &&LogEntry| call.access_key.as_ref() == Some(&cell.access_key);
            courses.push(Course {
                cell: cell.clone(),
                calls: calls.iter().filter(of_cell).cloned().collect(),
                last_call: at_rest.call,
                writes: writes.iter().filter(|write| cell.wrote(write)).cloned().collect(),
                last_write: at_rest.write,
                restless: calls
                    .iter()
                    .filter(of_cell)
                    .filter(|call| call.sequence > at_rest.call && call.method != "GET")
                    .map(operation)
                    .collect(),
                object: cell.objects(&self.world).get_or_null(&cell.name).await,
                own,
                touched: cell.touched(&self.world).await,
                password,
                kill: kills.next(),
            });
        }
        figures::report("kill sweep", &[("secrets found", self.world.finish().await)]);
        courses
    }
}

/// Whether it is Ready with its present spec, and status records no open operation.
fn is_ready(object: &Value) -> bool {
    let ready = condition(object, "Ready");
    let undecided = ["intent", "passwordReset", "settlesAt"];
    ready["status"] == "True"
        && ready["observedGeneration"] == object["metadata"]["generation"]
        && undecided.iter().all(|field| object["status"][field].is_null())
}

/// Asserts that the kill hit the intended request, and that the operator still waited for that.
fn assert_met(cell: &Cell, frozen: &Frozen, calls: &[LogEntry], writes: &[ApiRequest]) {
    let of_cell = |call: &&LogEntry| call.access_key.as_ref() == Some(&cell.access_key);
    let last_write = writes.iter().rev().find(|write| cell.wrote(write));
    match frozen {
        Frozen::Call(held) => {
            let later = calls
                .iter()
                .filter(of_cell)
                .filter(|call| call.sequence > held.sequence);
            // Collections are read in parallel; nothing else is done meanwhile.
            let beside =
                |call: &LogEntry| held.method == "GET" && call.method == "GET" && call.operation != held.operation;
            let after: Vec<&LogEntry> = later.filter(|call| !beside(call)).collect();
            assert!(after.is_empty(), "{}: after {held:?} came {after:?}", cell.name);
            let is_reported = last_write.is_some_and(|write| write.body.to_string().contains("\"CloudError\""));
            assert!(!is_reported, "{}: {last_write:?}", cell.name);
        }
        Frozen::Write(held) => {
            assert_eq!(last_write.map(|write| write.number), Some(held.number), "{}", cell.name);
        }
    }
}
