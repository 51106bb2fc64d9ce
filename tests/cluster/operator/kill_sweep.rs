//! The kill sweep: the real binary is killed before and after each of its requests to the cloud and each of its writes
//! to the apiserver, and restarted. Then there must be exactly one resource in the cloud (or none), as specified. No
//! other resource may be changed, and hardly a call more may be sent than without the kill.
//!
//! No boundary is listed by hand: each story first runs without a kill, and the sweep covers every request that it
//! sent. A story runs in a cell: one object with a cloud project, an access key and a VPN server of its own. So many
//! cells can be held at once, each at a boundary of its own, and one SIGKILL hits them all there.
//!
//! The operators run without leader election: with it the next one would wait until the Lease of the killed one
//! expires, which only gives the cloud more time. The tests of elections are in `leadership`.

mod batch;
mod boundary;
mod cell;
mod start;
mod story;
mod verdict;

use std::collections::BTreeMap;

use vpn_operator_testbed::{Effort, effort, figures};

use batch::{Batch, Pause};
use boundary::Boundary;
use cell::Cell;
use story::Story;
use verdict::{Course, Tally};

use crate::operator::world::alone;

/// Number of objects of one operator. It is below its number of parallel reconciles, since each object is held in the
/// middle of one. All must be held before the first request to the apiserver times out.
const CELLS_AT_ONCE: usize = 18;

#[tokio::test]
async fn gateways_survive_a_kill_at_each_boundary() {
    sweep("gateways", &Story::GATEWAYS).await;
}

#[tokio::test]
async fn users_survive_a_kill_at_each_boundary() {
    sweep("users", &Story::USERS).await;
}

async fn sweep(of: &str, stories: &[Story]) {
    let _alone = alone().await;
    let mut tally = Tally::default();
    let mut wrong = Vec::new();
    let courses = undisturbed(stories).await;
    let mut boundaries: Vec<(Story, Boundary)> = Vec::new();
    for (story, course) in &courses {
        let of_story = course.boundaries();
        assert!(of_story.len() > 2, "{story:?} is no story: {of_story:?}");
        println!("{story:?} has {} boundaries:", of_story.len());
        for boundary in &of_story {
            println!(
                "  {:?} {:?} {} {}",
                boundary.moment, boundary.to, boundary.what, boundary.nth
            );
        }
        boundaries.extend(of_story.into_iter().map(|boundary| (*story, boundary)));
        let faults = course.check(course, Pause::None, &mut tally);
        wrong.extend(
            faults
                .into_iter()
                .map(|fault| format!("{story:?} without a kill: {fault}")),
        );
    }
    let pauses: &[Pause] = match effort() {
        Effort::Quick => &[Pause::None],
        Effort::Full => &[Pause::None, Pause::PastEveryDeadline],
    };
    let (mut kills, mut met) = (0, 0);
    for pause in pauses {
        for some in boundaries.chunks(CELLS_AT_ONCE) {
            let cells = some.iter().enumerate();
            let cells = cells.map(|(number, (story, _))| Cell::new(*story, number)).collect();
            let at: Vec<Boundary> = some.iter().map(|(_, boundary)| boundary.clone()).collect();
            let results = Batch::prepare(cells).await.run_with_a_kill(&at, *pause).await;
            for (course, (story, boundary)) in results.iter().zip(some) {
                let faults = course.check(&courses[story], *pause, &mut tally);
                wrong.extend(
                    faults
                        .into_iter()
                        .map(|fault| format!("{story:?} {boundary:?} {pause:?}: {fault}")),
                );
            }
            met += results.len() as u64;
            kills += 1;
        }
    }
    let swept = boundaries.len() as u64;
    figures::report(
        "kill sweep",
        &[
            (&format!("boundaries tested, {of}"), swept),
            (&format!("{of} with a kill at a boundary"), met),
            (&format!("operators killed, with {of}"), kills),
        ],
    );
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert_eq!(met, swept * pauses.len() as u64);
    tally.report(of);
}

/// Runs each story without a kill.
async fn undisturbed(stories: &[Story]) -> BTreeMap<Story, Course> {
    let cells = stories.iter().enumerate();
    let cells = cells.map(|(number, story)| Cell::new(*story, number)).collect();
    let results = Batch::prepare(cells).await.run().await;
    stories.iter().copied().zip(results).collect()
}
