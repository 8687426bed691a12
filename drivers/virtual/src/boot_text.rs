//! What the board prints apart from its shell. Tests and scripts wait for some of these texts:
//! `Image sha256:`, `No bootable medium found`, `image incomplete`, `rpi4 login: `.

/// Lines of the boot loader, at power-on and after a reboot.
pub(crate) const LOADER: [&str; 4] = [
    "U-Boot 2024.01 (virtual rig)",
    "Model: Raspberry Pi 4 Model B (virtual)",
    "DRAM:  4 GiB",
    "MMC:   mmc@7e340000: 0",
];

/// There is no card, or nothing on it.
pub(crate) const NO_MEDIUM: &str = "No bootable medium found";
/// The last write to the card did not finish.
pub(crate) const INCOMPLETE: &str = "image incomplete";
/// Ends every boot that failed for good.
pub(crate) const NO_BOOT: &str = "Boot stopped, switch the power off and on to try again";
/// After the image was read.
pub(crate) const START: &str = "Starting kernel ...";
/// Asks for a user.
pub(crate) const LOGIN: &str = "rpi4 login: ";

/// Lines of the kernel, paced over the boot; `dmesg` shows them again.
pub(crate) const KERNEL: [&str; 8] = [
    "[    0.000000] Booting Linux on physical CPU 0x0000000000 [0x410fd083]",
    "[    0.000000] Linux version 6.6.31-virtual (rigd@lab) #1 SMP PREEMPT",
    "[    0.000000] Machine model: Raspberry Pi 4 Model B (virtual)",
    "[    0.000000] Memory: 3884032K/4194304K available",
    "[    0.081230] smp: Brought up 1 node, 4 CPUs",
    "[    0.912043] mmc0: new high speed SDXC card at address aaaa",
    "[    0.914771] mmcblk0: mmc0:aaaa VIRT",
    "[    1.330218] EXT4-fs (mmcblk0p2): mounted filesystem ro with ordered data mode",
];

/// The card was taken away while the board used it.
pub(crate) const CARD_GONE: [&str; 4] = [
    "mmc0: card aaaa removed",
    "I/O error, dev mmcblk0, sector 2048 op 0x0:(READ) flags 0x80700",
    "EXT4-fs error (device mmcblk0p2): I/O error while reading superblock",
    "Kernel panic - not syncing: cannot read the root file system",
];

/// The clock of the kernel stops here, so that output is the same in each run.
pub(crate) const REBOOT: &str = "reboot: Restarting system";
/// As [`REBOOT`], for `poweroff`.
pub(crate) const POWER_DOWN: &str = "reboot: Power down";

/// Files that `cat` finds.
pub(crate) const FILES: [(&str, &str); 4] = [
    ("/etc/hostname", "rpi4\n"),
    (
        "/etc/os-release",
        "ID=virtual\nNAME=\"Virtual board\"\nVERSION_ID=1\nPRETTY_NAME=\"Virtual board\"\n",
    ),
    (
        "/proc/version",
        "Linux version 6.6.31-virtual (rigd@lab) #1 SMP PREEMPT\n",
    ),
    (
        "/proc/device-tree/model",
        "Raspberry Pi 4 Model B (virtual)\n",
    ),
];

/// Fields of `uname`: system, node, release, version, machine, operating system.
pub(crate) const UNAME: [(&str, &str); 6] = [
    ("-s", "Linux"),
    ("-n", "rpi4"),
    ("-r", "6.6.31-virtual"),
    ("-v", "#1 SMP PREEMPT"),
    ("-m", "aarch64"),
    ("-o", "GNU/Linux"),
];

/// Adds a line with the ending that a terminal needs.
pub(crate) fn line(out: &mut Vec<u8>, text: &str) {
    out.extend_from_slice(text.as_bytes());
    out.extend_from_slice(b"\r\n");
}
