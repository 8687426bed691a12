//! How hooks end: by themselves, by their time, cut, dropped; and what is left of them.

use super::*;

#[tokio::test]
async fn the_exit_code_decides() {
    let rig = rig();
    assert_eq!(rig.run(&hook("exit 0")).await, Outcome::Done);
    let text = "Hook failed with exit code 7";
    assert_eq!(rig.run(&hook("exit 7")).await, failed(text));
    let text = "Hook failed with exit code -9";
    assert_eq!(rig.run(&hook("kill -KILL $$")).await, failed(text));
}

#[tokio::test]
async fn a_script_that_ignores_term_is_killed_after_the_grace_with_all_its_children() {
    let mut rig = rig();
    let mut stubborn = hook("trap '' TERM; sleep 300 & echo $!; while :; do sleep 0.02; done");
    stubborn.timeout = 1;
    let grace = Duration::from_millis(200);
    let run = Duration::from_millis(400);
    let began = Clock::now();
    let outcome = rig.run_within(Limits { run, grace }, &stubborn).await;
    assert_eq!(outcome, failed("Hook timed out after 1 seconds"));
    assert!(began.elapsed() >= run + grace, "{:?}", began.elapsed());
    let printed = rig.printed();
    assert!(is_gone(&printed[0]), "{printed:?}");
}

#[tokio::test]
async fn zero_and_negative_timeouts_end_it_as_it_starts() {
    for seconds in [0, -5] {
        let mut hook = hook("sleep 300");
        hook.timeout = seconds;
        let text = "Hook timed out after 0 seconds";
        assert_eq!(rig().run(&hook).await, failed(text));
    }
}

#[tokio::test]
async fn an_endless_timeout_is_no_overflow() {
    let mut hook = hook("exit 0");
    hook.timeout = i64::MAX;
    assert_eq!(rig().run(&hook).await, Outcome::Done);
}

#[tokio::test]
async fn a_background_process_does_not_outlive_a_good_hook_nor_delay_it() {
    let mut rig = rig();
    let script = "(trap '' TERM HUP; exec sleep 300) & echo $!";
    let began = Clock::now();
    assert_eq!(rig.run(&hook(script)).await, Outcome::Done);
    assert!(
        began.elapsed() < Duration::from_secs(2),
        "{:?}",
        began.elapsed()
    );
    let printed = rig.printed();
    assert!(is_gone(&printed[0]), "{printed:?}");
}

#[tokio::test]
async fn one_that_left_the_group_and_holds_the_terminal_is_not_waited_for() {
    // Both end by themselves: `yes` without a terminal, the silent one without the directory.
    for holder in [
        "yes up",
        "sh -c 'echo up; while test -d DIR; do sleep 0.05; done'",
    ] {
        let mut rig = rig();
        let holder = holder.replace("DIR", rig.dir.path().to_str().unwrap());
        let running = rig.spawn(&format!("setsid {holder} & read -r line"));
        rig.wait_for("up").await;
        let began = Clock::now();
        rig.cut.send_replace(Some(Duration::ZERO));
        assert_eq!(running.await.unwrap(), failed("Hook was cut short"));
        assert!(
            began.elapsed() < Duration::from_secs(2),
            "{:?}",
            began.elapsed()
        );
    }
}

#[tokio::test]
async fn a_cut_lets_it_clean_up_within_the_grace() {
    let mut rig = rig();
    let script = "trap 'echo bye; exit 0' TERM; echo up; while :; do sleep 0.02; done";
    let running = rig.spawn(script);
    rig.wait_for("up").await;
    rig.cut.send_replace(Some(HOOK_GRACE));
    assert_eq!(running.await.unwrap(), failed("Hook was cut short"));
    assert_eq!(rig.printed().last().unwrap(), "bye");
}

#[tokio::test]
async fn a_second_cut_shortens_the_grace_of_the_first() {
    let mut rig = rig();
    let running = rig.spawn("trap 'echo never' TERM; echo up; while :; do sleep 0.02; done");
    rig.wait_for("up").await;
    let began = Clock::now();
    rig.cut.send_replace(Some(HOOK_GRACE));
    rig.wait_for("never").await;
    rig.cut.send_replace(Some(Duration::ZERO));
    assert_eq!(running.await.unwrap(), failed("Hook was cut short"));
    assert!(
        began.elapsed() < Duration::from_secs(2),
        "{:?}",
        began.elapsed()
    );
}

#[tokio::test]
async fn a_stopped_hook_is_woken_to_end() {
    let mut rig = rig();
    let script = "trap 'echo bye; exit 0' TERM; kill -STOP $$";
    let limits = Limits {
        run: Duration::from_millis(300),
        grace: SOON,
    };
    let outcome = rig.run_within(limits, &hook(script)).await;
    assert_eq!(outcome, failed("Hook timed out after 120 seconds"));
    assert_eq!(rig.printed().last().unwrap(), "bye");
}

#[tokio::test]
async fn a_cut_before_the_start_starts_nothing() {
    let mut rig = rig();
    rig.cut.send_replace(Some(HOOK_GRACE));
    let text = "Hook was cut short before it began";
    assert_eq!(rig.run(&hook("echo x")).await, failed(text));
    assert_eq!(rig.printed(), Vec::<String>::new());
}

#[tokio::test]
async fn a_run_that_is_dropped_kills_its_group() {
    let mut rig = rig();
    let script = hook("sleep 300 & echo $!; wait");
    let (logs, cut) = (rig.logs.clone(), rig.cut.subscribe());
    let pid = tokio::select! {
        outcome = run(&script, context(Hook::Before), logs, cut) => panic!("{outcome:?}"),
        pid = rig.line() => pid,
    };
    let gone = async {
        while !is_gone(&pid) {
            tokio::task::yield_now().await;
        }
    };
    timeout(SOON, gone)
        .await
        .expect("the background process is killed");
}

#[tokio::test]
async fn a_hook_that_closes_its_terminal_is_waited_for_all_the_same() {
    let script = "exec <&- >&- 2>&-; sleep 0.2; exit 6";
    let text = "Hook failed with exit code 6";
    assert_eq!(rig().run(&hook(script)).await, failed(text));
}
