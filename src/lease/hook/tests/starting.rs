//! How hooks are started: interpreter, environment, descriptors.

use super::*;

#[tokio::test]
async fn a_blank_script_starts_nothing() {
    let mut blank = hook(" \n\t");
    blank.exec = Some("/nonexistent".into());
    assert_eq!(rig().run(&blank).await, Outcome::Done);
}

#[tokio::test]
async fn one_line_that_names_a_file_is_a_file_and_its_name_chooses_the_interpreter() {
    let mut rig = rig();
    let shell = rig.file("hook.sh", "echo \"$0\"");
    assert_eq!(rig.run(&hook(&format!("{shell}\n"))).await, Outcome::Done);
    assert_eq!(rig.printed(), [shell.as_str()]);

    let python = rig.file("hook.PY", "import sys\nprint(len(sys.argv))\nsys.exit(4)\n");
    let text = "Hook failed with exit code 4";
    assert_eq!(rig.run(&hook(&python)).await, failed(text));
    assert_eq!(rig.printed(), ["1"]);

    // Two lines, or no such file: a script.
    let two = format!("echo two\n. {shell}");
    assert_eq!(rig.run(&hook(&two)).await, Outcome::Done);
    assert_eq!(rig.printed(), ["two", "/bin/sh"]);
    let text = "Hook failed with exit code 127";
    assert_eq!(
        rig.run(&hook(&format!("{shell}.missing"))).await,
        failed(text)
    );
}

#[tokio::test]
async fn exec_is_the_interpreter_of_a_file_and_of_a_script() {
    let mut rig = rig();
    let mut inline = hook("import sys; print(sys.argv[0])");
    inline.exec = Some("python3".into());
    assert_eq!(rig.run(&inline).await, Outcome::Done);
    assert_eq!(rig.printed(), ["-c"]);

    let mut file = hook(&rig.file("data", "what it says\n"));
    file.exec = Some("cat".into());
    assert_eq!(rig.run(&file).await, Outcome::Done);
    assert_eq!(rig.printed(), ["what it says"]);
}

#[tokio::test]
async fn an_interpreter_that_cannot_run_is_an_error_that_says_what_to_do() {
    let rig = rig();
    let mut missing = hook("true");
    missing.exec = Some("/nonexistent/sh".into());
    let text = "Error executing hook: cannot run \"/nonexistent/sh\": \
                No such file or directory (os error 2); \
                `exec` must name a program that may be executed";
    assert_eq!(rig.run(&missing).await, failed(text));

    let mut data = hook("true");
    let path = rig.file("not-executable", "#!/bin/sh\n");
    data.exec = Some(path.clone());
    let text = format!(
        "Error executing hook: cannot run {path:?}: Permission denied (os error 13); \
         `exec` must name a program that may be executed"
    );
    assert_eq!(rig.run(&data).await, failed(&text));
}

#[tokio::test]
async fn the_environment_is_the_daemons_and_the_leases() {
    let mut rig = rig();
    let script = r#"printf '%s\n' "$JUMPSTARTER_HOST" "$JMP_DRIVERS_ALLOW" "$LEASE_NAME" \
        "[${CLIENT_NAME-unset}]" "$TERM" "$DEBIAN_FRONTEND" "$GIT_TERMINAL_PROMPT" \
        "$(env | grep -c '^PS1=')" "$JMP_MOTD_FILE" "$PATH""#;
    assert_eq!(rig.run(&hook(script)).await, Outcome::Done);
    let path = std::env::var("PATH").unwrap();
    let wanted = [
        "/run/rigd/hook.sock",
        "UNSAFE",
        "lease-1",
        "[]",
        "dumb",
        "noninteractive",
        "0",
        "0",
        "/run/rigd/motd",
        &path,
    ];
    assert_eq!(rig.printed(), wanted);
}

#[test]
fn what_is_the_daemons_alone_is_not_inherited() {
    let variables = |kind| {
        let command = command::command(&hook("true"), &context(kind));
        let set = command.as_std().get_envs();
        set.map(|(name, value)| (name.to_owned(), value.is_some()))
            .collect::<std::collections::HashMap<_, _>>()
    };
    let (before, after) = (variables(Hook::Before), variables(Hook::After));
    for name in ["PS1", "NOTIFY_SOCKET", "WATCHDOG_USEC", "LISTEN_FDS"] {
        assert_eq!(before.get(name.as_ref() as &std::ffi::OsStr), Some(&false));
    }
    let motd: &std::ffi::OsStr = "JMP_MOTD_FILE".as_ref();
    assert_eq!(
        (before.get(motd), after.get(motd)),
        (Some(&true), Some(&false))
    );
}

/// Descriptors that whoever started the tests handed down, open for every child.
fn handed_down() -> Vec<String> {
    const CLOEXEC: u32 = 0o2_000_000;
    let entries = fs::read_dir("/proc/self/fdinfo").unwrap();
    entries
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| {
            // It may be another test's, and closed by now.
            let info = fs::read_to_string(format!("/proc/self/fdinfo/{name}")).unwrap_or_default();
            let flags = info.lines().find_map(|line| line.strip_prefix("flags:"));
            flags.is_some_and(|flags| u32::from_str_radix(flags.trim(), 8).unwrap() & CLOEXEC == 0)
        })
        .collect()
}

#[tokio::test]
async fn it_has_a_terminal_without_size_a_group_and_no_descriptors_of_the_daemon() {
    let mut rig = rig();
    let script = "test -t 0 && test -t 1 && test -t 2 && stty size
        set -- $(cut -d' ' -f5 /proc/$$/stat); test $1 = $$ && echo leader
        ls -1 /proc/$$/fd";
    assert_eq!(rig.run(&hook(script)).await, Outcome::Done);
    let printed = rig.printed();
    assert_eq!(printed[..2], ["0 0", "leader"]);
    let handed_down = handed_down();
    let mut descriptors = printed[2..].to_vec();
    descriptors.retain(|name| !handed_down.contains(name));
    assert!(
        handed_down.contains(&"0".into()) && descriptors.is_empty(),
        "{printed:?}"
    );
}
