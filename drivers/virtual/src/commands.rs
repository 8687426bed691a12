//! The commands of the board's shell. Pure: words in, output and a wish to the machine out.

use crate::boot_text::{FILES, KERNEL, UNAME, line};

/// Most lines of one burst: a day's output of a real board.
const MAX_BURST: u64 = 1_000_000_000;

/// What a command wants beside its output.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum After {
    /// The next prompt; with the status that `$?` shows.
    Prompt(u8),
    /// `cat` without a file: lines come back until Ctrl-D.
    Copy,
    /// Numbered lines.
    Burst(u64),
    /// The login prompt.
    Logout,
    Reboot,
    PowerOff,
}

/// Runs one line. `digest` is that of the image the board runs, `status` that of the command before.
pub(crate) fn run(text: &str, digest: &str, status: u8, out: &mut Vec<u8>) -> After {
    let words = split(text, status);
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let Some((name, args)) = words.split_first() else {
        return After::Prompt(status);
    };
    match *name {
        "image-digest" => {
            line(out, digest);
            After::Prompt(0)
        }
        "uname" => uname(args, out),
        "cat" => cat(args, out),
        "echo" => echo(args, out),
        "dmesg" => {
            KERNEL.iter().for_each(|text| line(out, text));
            After::Prompt(0)
        }
        "burst" => burst(args, out),
        "reboot" => After::Reboot,
        "poweroff" => After::PowerOff,
        "exit" | "logout" => After::Logout,
        other => {
            line(out, &format!("-sh: {other}: not found"));
            After::Prompt(127)
        }
    }
}

/// Splits a line at blanks outside of quotes; knows `$?` and nothing else of a real shell.
fn split(text: &str, status: u8) -> Vec<String> {
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut quote = None;
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        match (c, quote) {
            ('\'' | '"', None) => {
                quote = Some(c);
                word.get_or_insert_default();
            }
            (c, Some(open)) if c == open => quote = None,
            ('$', None | Some('"')) if chars.peek() == Some(&'?') => {
                chars.next();
                word.get_or_insert_default().push_str(&status.to_string());
            }
            ('\\', None) => word.get_or_insert_default().extend(chars.next()),
            (c, None) if c.is_whitespace() => words.extend(word.take()),
            (c, _) => word.get_or_insert_default().push(c),
        }
    }
    words.extend(word);
    words
}

fn uname(args: &[&str], out: &mut Vec<u8>) -> After {
    let wanted: Vec<&str> = match args {
        [] => vec![UNAME[0].1],
        ["-a"] => UNAME.iter().map(|(_, value)| *value).collect(),
        [option] => UNAME
            .iter()
            .filter(|(name, _)| name == option)
            .map(|(_, value)| *value)
            .collect(),
        _ => Vec::new(),
    };
    if wanted.is_empty() {
        line(out, "usage: uname [-a | -s | -n | -r | -v | -m | -o]");
        return After::Prompt(1);
    }
    line(out, &wanted.join(" "));
    After::Prompt(0)
}

fn cat(args: &[&str], out: &mut Vec<u8>) -> After {
    if args.is_empty() {
        return After::Copy;
    }
    let mut status = 0;
    for path in args {
        match FILES.iter().find(|(name, _)| name == path) {
            Some((_, content)) => content.lines().for_each(|text| line(out, text)),
            None => {
                line(out, &format!("cat: {path}: No such file or directory"));
                status = 1;
            }
        }
    }
    After::Prompt(status)
}

fn echo(args: &[&str], out: &mut Vec<u8>) -> After {
    match args {
        ["-n", rest @ ..] => out.extend_from_slice(rest.join(" ").as_bytes()),
        args => line(out, &args.join(" ")),
    }
    After::Prompt(0)
}

fn burst(args: &[&str], out: &mut Vec<u8>) -> After {
    match args {
        [count] => match count.parse() {
            Ok(count @ 0..=MAX_BURST) => return After::Burst(count),
            _ => line(
                out,
                &format!("burst: {count}: not a number up to {MAX_BURST}"),
            ),
        },
        _ => line(out, "usage: burst LINES"),
    }
    After::Prompt(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn output(text: &str) -> (String, After) {
        let mut out = Vec::new();
        let after = run(text, "d1g", 3, &mut out);
        (String::from_utf8(out).unwrap(), after)
    }

    #[test]
    fn commands_print_what_their_real_siblings_do() {
        let ok = |text: &str| (text.to_owned(), After::Prompt(0));
        assert_eq!(output("image-digest"), ok("d1g\r\n"));
        assert_eq!(
            output("uname -a"),
            ok("Linux rpi4 6.6.31-virtual #1 SMP PREEMPT aarch64 GNU/Linux\r\n")
        );
        assert_eq!(output("uname -m"), ok("aarch64\r\n"));
        assert_eq!(output("cat /etc/hostname"), ok("rpi4\r\n"));
        assert_eq!(
            output("cat nothing"),
            (
                "cat: nothing: No such file or directory\r\n".into(),
                After::Prompt(1)
            )
        );
        assert_eq!(
            output("foo bar"),
            ("-sh: foo: not found\r\n".into(), After::Prompt(127))
        );
        assert!(output("dmesg").0.contains("Booting Linux"));
        assert_eq!(output("  "), (String::new(), After::Prompt(3)));
        assert_eq!(output("poweroff").1, After::PowerOff);
        assert_eq!(output("reboot").1, After::Reboot);
        assert_eq!(output("cat").1, After::Copy);
        assert_eq!(output("burst 12").1, After::Burst(12));
        assert!(output("burst -1").0.contains("not a number"));
    }

    #[test]
    fn echo_knows_quotes_and_the_last_status() {
        let echo = |text: &str| output(text).0;
        assert_eq!(echo("echo a   b"), "a b\r\n");
        assert_eq!(
            echo("echo 'a   b' \"c\"d ''"),
            "a   bcd \r\n".replace("bcd", "b cd")
        );
        assert_eq!(echo("echo $? '$?' \"$?\""), "3 $? 3\r\n");
        assert_eq!(echo(r"echo a\ b\"), "a b\r\n");
        assert_eq!(echo("echo -n x"), "x");
        assert_eq!(echo("echo"), "\r\n");
    }
}
