//! What people see on a terminal, which here is a pseudo-terminal.

use std::fs::{File, OpenOptions};
use std::io::Read;
use std::process::Command;

use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{Winsize, tcsetwinsize};

use crate::support::Shop;

/// Runs `command` on a terminal with standard output and error, or with the latter alone; returns its exit
/// status, and what is on the terminal.
fn on_terminal(command: &mut Command, output_too: bool) -> (Option<i32>, String) {
    let terminal = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
    grantpt(&terminal).unwrap();
    unlockpt(&terminal).unwrap();
    let size = Winsize {
        ws_row: 24,
        ws_col: 100,
        ws_xpixel: 0,
        ws_ypixel: 0,
    };
    tcsetwinsize(&terminal, size).unwrap();
    let name = ptsname(&terminal, Vec::new()).unwrap();
    let open = || {
        OpenOptions::new()
            .read(true)
            .write(true)
            .open(name.to_str().unwrap())
            .unwrap()
    };
    command.env("TERM", "xterm").stderr(open());
    if output_too {
        command.stdout(open());
    }
    let mut child = command.spawn().unwrap();
    // The terminal ends with the last who holds it.
    command
        .stdout(std::process::Stdio::null())
        .stderr(std::process::Stdio::null());
    let mut shown = Vec::new();
    // It ends with an error once nobody writes to it.
    let _end = File::from(terminal).read_to_end(&mut shown);
    let code = child.wait().unwrap().code();
    (
        code,
        String::from_utf8(shown).unwrap().replace("\r\n", "\n"),
    )
}

fn shop() -> Shop {
    let shop = Shop::set_up();
    let capture = shop.capture();
    shop.sql("INSERT INTO todos (title) VALUES ('Sleep')");
    shop.wait_until_stored(1);
    capture.kill();
    shop
}

const RED: &str = "\u{1b}[31m";
const GREEN: &str = "\u{1b}[32m";

#[test]
fn a_terminal_has_colours_and_a_pager() {
    let shop = shop();
    let plain = shop.bemi(&["diff"]).stdout;
    assert!(!plain.contains('\u{1b}'));
    let diff = || shop.command(&["diff"]);

    let (code, shown) = on_terminal(diff().env("PAGER", "cat"), true);
    assert_eq!(code, Some(0));
    assert!(
        shown.contains(&format!("{GREEN}  + title: \"Sleep\"")),
        "{shown:?}"
    );
    let (_, shown) = on_terminal(diff().env("PAGER", "").env("NO_COLOR", "1"), true);
    assert_eq!(shown, plain);

    // The pager has the text with its colours, and the terminal what the pager makes of it.
    let (code, shown) = on_terminal(diff().env("PAGER", "sed s/Sleep/Paged/"), true);
    assert_eq!(code, Some(0));
    assert!(
        shown.contains(&format!("{GREEN}  + title: \"Paged\"")),
        "{shown:?}"
    );
    let mut command = diff();
    command
        .env("PAGER", "false")
        .env("BEMI_PAGER", "sed s/Sleep/Own/")
        .env("NO_COLOR", "1");
    let (_, shown) = on_terminal(&mut command, true);
    assert_eq!(shown, plain.replace("Sleep", "Own"));
    let at: String = shop.value("SELECT max(committed_at)::text FROM changes");
    for arguments in [&["changes"][..], &["as-of", &at, "todos"]] {
        let (_, shown) = on_terminal(shop.command(arguments).env("PAGER", "echo paged"), true);
        assert_eq!(shown, "paged\n");
    }
    // Without a word it is `less`, which ends where all fits on the screen; or none where there is no such program.
    let (code, shown) = on_terminal(&mut diff(), true);
    assert_eq!(code, Some(0));
    assert!(shown.contains("  + title: \"Sleep\""), "{shown:?}");
    // A pager that ends early, and one that cannot be run.
    let (code, shown) = on_terminal(diff().env("PAGER", "true"), true);
    assert_eq!((code, &*shown), (Some(0), ""));
    let (code, shown) = on_terminal(diff().env("PAGER", "no-such-pager"), true);
    assert_eq!(code, Some(0));
    assert!(shown.contains("no-such-pager"), "{shown:?}");
}

#[test]
fn programs_are_never_paged_nor_coloured() {
    let shop = shop();
    for arguments in [&["diff", "--json"][..], &["export"], &["changes", "--json"]] {
        let piped = shop.bemi(arguments).stdout;
        let (_, shown) = on_terminal(shop.command(arguments).env("PAGER", "echo paged"), true);
        assert_eq!(shown, piped);
    }
    // Standard output elsewhere: only messages for people are on the terminal.
    let mut command = shop.command(&["diff"]);
    command
        .stdout(std::process::Stdio::null())
        .env("PAGER", "echo paged");
    assert_eq!(on_terminal(&mut command, false), (Some(0), String::new()));
    let error = on_terminal(&mut shop.command(&["diff", "--since", "never"]), false);
    let words = "cannot read the time: write it like 2026-01-31 or 2026-01-31T12:00:00Z";
    assert_eq!(
        error,
        (
            Some(1),
            format!("\u{1b}[1m{RED}error:\u{1b}[39m\u{1b}[0m {words}\n")
        )
    );
}

#[test]
fn an_export_shows_on_a_terminal_how_far_it_is() {
    let shop = shop();
    shop.sql(
        "INSERT INTO changes (id, source, database, schema, \"table\", operation, committed_at, queued_at, transaction_id, position, commit_lsn, ordinal) \
         SELECT gen_random_uuid(), -1, 'd', 's', 't', 'CREATE', '2026-01-31 12:00Z', now(), 1, 1, 1, n FROM generate_series(1, 20000) n",
    );
    let path = std::env::temp_dir().join(format!("{}.csv", shop.slot()));
    let arguments = [
        "export",
        "--format",
        "csv",
        "--output",
        path.to_str().unwrap(),
    ];
    let (code, shown) = on_terminal(&mut shop.command(&arguments), false);
    assert_eq!(code, Some(0));
    assert_eq!(
        shown,
        "\r10000 changes, up to 2026-01-31T12:00:00Z\r20000 changes, up to 2026-01-31T12:00:00Z\n20001 changes\n"
    );
    let outcome = shop.bemi(&arguments);
    assert_eq!((&*outcome.stderr, outcome.code), ("20001 changes\n", 0));
    assert_eq!(
        std::fs::read_to_string(&path).unwrap().lines().count(),
        20_002
    );
    std::fs::remove_file(&path).unwrap();
    // Where the changes themselves go to the terminal, nothing comes between them.
    let (_, shown) = on_terminal(
        &mut shop.command(&["export", "--database-url", shop.database.url()]),
        true,
    );
    assert!(!shown.contains("changes, up to"));
}
