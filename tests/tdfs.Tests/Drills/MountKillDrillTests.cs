using System.Diagnostics;
using System.Globalization;
using System.Runtime.InteropServices;
using System.Text;
using Microsoft.Win32.SafeHandles;

namespace TokTok.Storage.Tdfs.Tests.Drills;

/// <summary>A node killed at random moments while programs work in its mount: what a sync acknowledged is there after the next start, and nothing is half renamed.</summary>
public sealed partial class MountKillDrillTests
{
    private const int WorkerCount = 4;

    [Fact]
    public Task What_was_synced_survives_every_kill_of_the_node() => Drill.SeededAsync(41, async (random, steps) =>
    {
        MountDrill.SkipWithoutFuse();
        using DrillStore store = await new DrillStore(1, "[keys]\nunlock-for = \"0s\"\n").InitAsync();
        string point = Directory.CreateDirectory(Path.Join(store.Folder, "point")).FullName;
        Worker[] workers = [.. Enumerable.Range(0, WorkerCount).Select(number => new Worker(Path.Join(point, $"w{number}"), random.Next()))];
        int wanted = Drill.Count(20, 200);
        try
        {
            for (int kill = 0; kill <= wanted; kill++)
            {
                using Process node = await MountDrill.MountAsync(store, "--create", "v", point);
                foreach (Worker worker in workers)
                {
                    worker.Verify();
                }

                TimeSpan moment = TimeSpan.FromMilliseconds(20 + random.Next(kill % 5 == 0 ? 2500 : 400));
                steps.Add($"kill {kill} after {moment.TotalMilliseconds} ms, {workers.Sum(static worker => worker.Acknowledged)} acknowledged");
                Task[] working = [.. workers.Select(static worker => Task.Factory.StartNew(worker.Work, DrillStore.Cancel, TaskCreationOptions.LongRunning, TaskScheduler.Default))];
                Task all = Task.WhenAll(working);
                _ = await Task.WhenAny(all, Task.Delay(moment, DrillStore.Cancel)); // the moment is what this drill is about
                Assert.False(all.IsFaulted, all.Exception?.ToString());
                node.Kill();
                await node.WaitForExitAsync(DrillStore.Cancel);
                await all.WaitAsync(TimeSpan.FromSeconds(60), DrillStore.Cancel); // nobody is left waiting
            }

            using (Process node = await MountDrill.MountAsync(store, "v", point))
            {
                foreach (Worker worker in workers)
                {
                    worker.Verify();
                }

                Assert.Equal(0, await MountDrill.SignalAsync(node, "TERM"));
            }

            Assert.True(workers.Sum(static worker => worker.Acknowledged) > wanted * 5, "the workers did next to nothing");
            await store.AssertCleanAsync();
        }
        finally
        {
            _ = await MountDrill.ShellAsync("umount -l $1 2>/dev/null || true", point);
        }
    });

    /// <summary>One program in a directory of its own, which remembers what was acknowledged. Ends with the first call that fails.</summary>
    private sealed partial class Worker(string folder, int seed)
    {
        private const int PageBytes = 4096;
        private const int PageCount = 256;

        private readonly Random _random = new(seed);
        private readonly Dictionary<string, int> _files = []; // name to what its bytes are made of
        private readonly Dictionary<string, (int Old, int? New)> _doubtful = []; // what was under way: either is right
        private readonly int[] _pages = new int[PageCount];
        private readonly int[] _written = new int[PageCount];
        private (string From, string To)? _renaming;
        private int _next = 1;
        private int _current;
        private int _replacing;
        private int _blocks;
        private bool _isMade;

        internal long Acknowledged { get; private set; }

        internal void Work()
        {
            try
            {
                if (!_isMade)
                {
                    Directory.CreateDirectory(folder);
                    using SafeFileHandle pages = File.OpenHandle(Path.Join(folder, "pages"), FileMode.Create, FileAccess.Write, FileShare.ReadWrite);
                    RandomAccess.Write(pages, new byte[PageBytes * PageCount], 0);
                    Sync(pages);
                    SyncFolder(folder);
                    SyncFolder(Path.GetDirectoryName(folder)!);
                    _isMade = true;
                }

                while (true)
                {
                    Step(_next++);
                    Acknowledged++;
                }
            }
            catch (Exception gone) when (gone is IOException or UnauthorizedAccessException)
            {
                // the node was killed
            }
        }

        internal void Verify()
        {
            if (!_isMade)
            {
                return;
            }

            if (_renaming is (string from, string to) && _doubtful.ContainsKey(to))
            {
                Assert.True((Found(from) == 0) != (Found(to) == 0), $"{folder}: renaming {from} to {to} left {Found(from)} and {Found(to)}");
            }

            foreach ((string name, (int old, int? now)) in _doubtful)
            {
                int found = Found(name);
                Assert.True(found == old || found == now, $"{folder}/{name}: found {found}, expected {old} or {now?.ToString(CultureInfo.InvariantCulture) ?? "anything but that"}");
                Set(name, found);
            }

            _doubtful.Clear();
            foreach ((string name, int made) in _files)
            {
                Assert.True(Found(name) == made, $"{folder}/{name}: found {Found(name)}, expected {made}");
            }

            int current = Found("current");
            Assert.True(current == _current || current == _replacing, $"{folder}/current: found {current}, expected {_current} or {_replacing}");
            _current = current;

            byte[] log = File.Exists(Path.Join(folder, "log")) ? File.ReadAllBytes(Path.Join(folder, "log")) : [];
            Assert.True(log.Length / PageBytes >= _blocks, $"{folder}/log: found {log.Length / PageBytes} blocks, {_blocks} were acknowledged");
            for (int block = 0; block < _blocks; block++)
            {
                Assert.True(log.AsSpan(block * PageBytes, PageBytes).SequenceEqual(Bytes(block, PageBytes)), $"{folder}/log: block {block} is not what was written");
            }

            byte[] pages = File.ReadAllBytes(Path.Join(folder, "pages"));
            for (int page = 0; page < PageCount; page++)
            {
                ReadOnlySpan<byte> bytes = pages.AsSpan(page * PageBytes, PageBytes);
                int version = BitConverter.ToInt32(bytes);
                Assert.True(version == _pages[page] || version == _written[page], $"{folder}/pages: page {page} is of step {version}, expected {_pages[page]} or {_written[page]}");
                Assert.True(version == 0 ? !bytes.ContainsAnyExcept((byte)0) : bytes.SequenceEqual(Page(version)), $"{folder}/pages: page {page} is half written");
                _pages[page] = _written[page] = version;
            }

            // What was half made is anything; the next step writes it again.
            foreach (string path in Directory.GetFileSystemEntries(folder, "*.half"))
            {
                File.Delete(path);
            }
        }

        private void Step(int step)
        {
            switch (_random.Next(6))
            {
                case 0:
                    string name = $"f{step}";
                    _doubtful[name] = (0, step);
                    Make(name, step, 1 + _random.Next(200_000), isDoubtful: true);
                    SyncFolder(folder);
                    Settle(name, step);
                    break;
                case 1:
                    Make("new.half", step, 1 + _random.Next(50_000), isDoubtful: false);
                    _replacing = step;
                    File.Move(Path.Join(folder, "new.half"), Path.Join(folder, "current"), overwrite: true);
                    SyncFolder(folder);
                    _current = step;
                    break;
                case 2:
                    using (SafeFileHandle log = File.OpenHandle(Path.Join(folder, "log"), FileMode.OpenOrCreate, FileAccess.Write, FileShare.ReadWrite))
                    {
                        RandomAccess.Write(log, Bytes(_blocks, PageBytes), (long)_blocks * PageBytes);
                        Sync(log);
                    }

                    SyncFolder(folder);
                    _blocks++;
                    break;
                case 3 when _files.Count > 0:
                    string old = _files.Keys.ElementAt(_random.Next(_files.Count));
                    string renamed = $"r{step}";
                    int made = _files[old];
                    _doubtful[old] = (made, 0);
                    _doubtful[renamed] = (0, made);
                    _renaming = (old, renamed);
                    File.Move(Path.Join(folder, old), Path.Join(folder, renamed));
                    SyncFolder(folder);
                    Settle(old, 0);
                    Settle(renamed, made);
                    _renaming = null; // what becomes of the new name from here on is another step's
                    break;
                case 4 when _files.Count > 20:
                    string goes = _files.Keys.ElementAt(_random.Next(_files.Count));
                    _doubtful[goes] = (_files[goes], 0);
                    File.Delete(Path.Join(folder, goes));
                    SyncFolder(folder);
                    Settle(goes, 0);
                    break;
                default:
                    int page = _random.Next(PageCount);
                    _written[page] = step;
                    using (SafeFileHandle pages = File.OpenHandle(Path.Join(folder, "pages"), FileMode.Open, FileAccess.Write, FileShare.ReadWrite))
                    {
                        RandomAccess.Write(pages, Page(step), (long)page * PageBytes);
                        Sync(pages);
                    }

                    _pages[page] = step;
                    break;
            }
        }

        /// <summary>A file whose first bytes say what the others are made of.</summary>
        /// <param name="isDoubtful">Until it is synced it may be there empty, or in part.</param>
        private void Make(string name, int step, int bytes, bool isDoubtful)
        {
            if (isDoubtful)
            {
                _doubtful[name] = (0, null);
            }

            using SafeFileHandle file = File.OpenHandle(Path.Join(folder, name), FileMode.Create, FileAccess.Write, FileShare.ReadWrite);
            RandomAccess.Write(file, Bytes(step, bytes + sizeof(int)), 0);
            Sync(file);
            if (isDoubtful)
            {
                _doubtful[name] = (0, step);
            }
        }

        /// <summary>The step that a file is of; 0: it is not there, or was not synced and is not whole.</summary>
        private int Found(string name)
        {
            string path = Path.Join(folder, name);
            if (!File.Exists(path))
            {
                return 0;
            }

            byte[] bytes = File.ReadAllBytes(path);
            if (_doubtful.TryGetValue(name, out (int Old, int? New) doubt) && doubt.New is null)
            {
                File.Delete(path);
                return 0;
            }

            int step = bytes.Length >= sizeof(int) ? BitConverter.ToInt32(bytes) : -1;
            return step > 0 && bytes.AsSpan().SequenceEqual(Bytes(step, bytes.Length)) ? step : -2;
        }

        private void Settle(string name, int made)
        {
            _doubtful.Remove(name);
            Set(name, made);
        }

        private void Set(string name, int made)
        {
            if (made == 0)
            {
                _files.Remove(name);
            }
            else
            {
                _files[name] = made;
            }
        }

        private static byte[] Page(int version) => Bytes(version, PageBytes);

        private static byte[] Bytes(int step, int count)
        {
            byte[] bytes = new byte[count];
            new Random(step).NextBytes(bytes);
            _ = BitConverter.TryWriteBytes(bytes, step);
            return bytes;
        }

        private static void Sync(SafeFileHandle file)
        {
            if (Fsync(file) != 0)
            {
                throw new IOException($"fsync: errno {Marshal.GetLastPInvokeError()}");
            }
        }

        private static void SyncFolder(string path)
        {
            const int ReadOnlyDirectory = 0x10000 | 0x80000; // O_DIRECTORY | O_CLOEXEC
            using SafeFileHandle opened = OpenPath(Encoding.UTF8.GetBytes(path + "\0"), ReadOnlyDirectory, 0);
            if (opened.IsInvalid)
            {
                throw new IOException($"open {path}: errno {Marshal.GetLastPInvokeError()}");
            }

            Sync(opened);
        }

        [LibraryImport("libc", EntryPoint = "fsync", SetLastError = true)]
        private static partial int Fsync(SafeFileHandle file);

        [LibraryImport("libc", EntryPoint = "open", SetLastError = true)]
        private static partial SafeFileHandle OpenPath(byte[] path, int flags, uint mode);
    }
}
