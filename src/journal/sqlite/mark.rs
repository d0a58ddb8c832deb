//! The high-water mark: a small file beside the journal that tells how far it went. Every log engine takes damage in
//! the middle of its log for the end of the log; this file knows better. It is also what locks the journal.

use std::{
    fs::{File, OpenOptions, TryLockError},
    io,
    os::unix::fs::FileExt,
    path::Path,
    sync::atomic::{AtomicU64, Ordering},
    thread,
    time::Duration,
};

use sha2::{Digest, Sha256};

use super::chain::Chain;

const MAGIC: &[u8; 8] = b"TGMARK1\n";
/// Magic, journal, count, lsn, chain, checksum.
const SLOT_BYTES: usize = 8 + 16 + 8 + 8 + 32 + 32;
/// The slots lie on pages of their own, so that a torn write spoils one of them only.
const SLOT_OFFSETS: [u64; 2] = [0, 4096];

/// A place in a journal, with everything before it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Point {
    pub(super) lsn: u64,
    pub(super) chain: Chain,
}

/// The open, locked file.
pub(super) struct Mark {
    file: File,
    journal: [u8; 16],
    /// How often it was written. The slots take turns.
    count: AtomicU64,
}

/// What a mark file says.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Marked {
    pub(super) journal: [u8; 16],
    pub(super) point: Point,
    count: u64,
}

/// How often a lock is asked for, at this distance: a process that is just ending, or one that was just started from
/// here and still has every file of ours, lets go of it in a moment.
const LOCK_ATTEMPTS: u32 = 100;
const LOCK_AGAIN: Duration = Duration::from_millis(5);

/// Why a mark file was not opened.
pub(super) enum NotOpened {
    /// Another process has it.
    InUse,
    Io(io::Error),
}

fn lock(file: &File) -> Result<(), NotOpened> {
    for _ in 0..LOCK_ATTEMPTS {
        match file.try_lock() {
            Ok(()) => return Ok(()),
            Err(TryLockError::WouldBlock) => thread::sleep(LOCK_AGAIN),
            Err(TryLockError::Error(error)) => return Err(NotOpened::Io(error)),
        }
    }
    Err(NotOpened::InUse)
}

/// Opens and locks the file, which is created where it is missing, and reads what it says, if anything.
pub(super) fn open(path: &Path) -> Result<(File, Option<Marked>), NotOpened> {
    let file = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path);
    let file = file.map_err(NotOpened::Io)?;
    lock(&file)?;
    let mut slots = Vec::new();
    for offset in SLOT_OFFSETS {
        let mut slot = [0; SLOT_BYTES];
        match file.read_exact_at(&mut slot, offset) {
            Ok(()) => slots.extend(decode(&slot)),
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {}
            Err(error) => return Err(NotOpened::Io(error)),
        }
    }
    Ok((file, slots.into_iter().max_by_key(|marked| marked.count)))
}

impl Mark {
    /// Starts marking for `journal`, at `point`, whatever the file said before. Returns when that is durable.
    pub(super) fn start(
        file: File,
        before: Option<Marked>,
        journal: [u8; 16],
        point: Point,
    ) -> io::Result<Self> {
        let count = AtomicU64::new(before.map_or(0, |marked| marked.count));
        let mark = Self { file, journal, count };
        for _ in SLOT_OFFSETS {
            mark.write(point)?;
        }
        mark.sync()?;
        Ok(mark)
    }

    /// Moves the mark. It is as safe as the page cache: it survives the process, not the power.
    pub(super) fn write(&self, point: Point) -> io::Result<()> {
        let count = self.count.fetch_add(1, Ordering::Relaxed).wrapping_add(1);
        let [first, second] = SLOT_OFFSETS;
        let offset = if count.is_multiple_of(2) { first } else { second };
        self.file.write_all_at(&encode(&Marked { journal: self.journal, point, count }), offset)
    }

    /// Makes what was written survive the power too.
    pub(super) fn sync(&self) -> io::Result<()> {
        self.file.sync_data()
    }
}

fn encode(marked: &Marked) -> Vec<u8> {
    let mut slot = Vec::with_capacity(SLOT_BYTES);
    slot.extend_from_slice(MAGIC);
    slot.extend_from_slice(&marked.journal);
    slot.extend_from_slice(&marked.count.to_be_bytes());
    slot.extend_from_slice(&marked.point.lsn.to_be_bytes());
    slot.extend_from_slice(&marked.point.chain.0);
    let checksum = Sha256::digest(&slot);
    slot.extend_from_slice(&checksum);
    slot
}

fn decode(slot: &[u8; SLOT_BYTES]) -> Option<Marked> {
    let (said, checksum) = slot.split_last_chunk::<32>()?;
    if Sha256::digest(said).as_slice() != checksum {
        return None;
    }
    let (magic, rest) = said.split_first_chunk::<8>()?;
    let (journal, rest) = rest.split_first_chunk::<16>()?;
    let (count, rest) = rest.split_first_chunk::<8>()?;
    let (lsn, chain) = rest.split_first_chunk::<8>()?;
    (magic == MAGIC).then_some(Marked {
        journal: *journal,
        point: Point { lsn: u64::from_be_bytes(*lsn), chain: Chain(chain.try_into().ok()?) },
        count: u64::from_be_bytes(*count),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const JOURNAL: [u8; 16] = [7; 16];

    fn point(lsn: u64) -> Point {
        Point { lsn, chain: Chain([u8::try_from(lsn).unwrap(); 32]) }
    }

    fn written(lsns: impl IntoIterator<Item = u64>) -> (tempfile::TempDir, std::path::PathBuf) {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("mark");
        let (file, before) = open(&path).ok().unwrap();
        assert_eq!(before, None);
        let mark = Mark::start(file, before, JOURNAL, point(0)).unwrap();
        lsns.into_iter().for_each(|lsn| mark.write(point(lsn)).unwrap());
        (directory, path)
    }

    fn said(path: &Path) -> Option<Point> {
        open(path).ok().unwrap().1.map(|marked| marked.point)
    }

    #[test]
    fn the_last_write_counts_even_when_it_goes_back() {
        let (_directory, path) = written([1, 2, 3]);
        assert_eq!(said(&path), Some(point(3)));
        let (_directory, path) = written([1, 2, 3, 2]);
        assert_eq!(said(&path), Some(point(2)));
    }

    #[test]
    fn a_torn_write_leaves_the_one_before() {
        for last in [6, 7] {
            let (_directory, path) = written(1..=last);
            let mut bytes = std::fs::read(&path).unwrap();
            let newest = (0..=bytes.len() - SLOT_BYTES)
                .step_by(4096)
                .max_by_key(|at| decode(bytes[*at..*at + SLOT_BYTES].try_into().unwrap()).unwrap().count)
                .unwrap();
            bytes[newest + 30..newest + 60].fill(0xFF);
            std::fs::write(&path, bytes).unwrap();
            assert_eq!(said(&path), Some(point(last - 1)));
        }
    }

    #[test]
    fn a_spoilt_file_says_nothing() {
        let (_directory, path) = written([1, 2]);
        std::fs::write(&path, vec![b'x'; 9000]).unwrap();
        assert_eq!(said(&path), None);
        std::fs::write(&path, b"short").unwrap();
        assert_eq!(said(&path), None);
    }

    #[test]
    fn only_one_has_it_open() {
        let (_directory, path) = written([1]);
        let first = open(&path).ok().unwrap();
        assert!(matches!(open(&path), Err(NotOpened::InUse)));
        drop(first);
        assert!(open(&path).is_ok());
    }
}
