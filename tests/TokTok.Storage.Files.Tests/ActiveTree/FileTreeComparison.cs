using System.Globalization;
using System.Text;

namespace TokTok.Storage.Files.Tests;

/// <summary>Random operations on two trees, whose answers must be the same.</summary>
/// <remarks>The same seed gives the same operations. A failure names the seed and the operations that led to it.</remarks>
internal sealed class FileTreeComparison(IFileTree expected, IFileTree actual, int seed)
{
    internal const int Slots = 3;
    private const int ReadSlot = 3;
    private static readonly string[] s_names = ["a", "b", "c", "d", "long-name-é", "e"];
    private static readonly string[] s_xattrs = ["user.one", "user.two", "user.three"];
    private readonly Random _random = new(seed);
    private readonly bool[] _isOpen = new bool[Slots];
    private readonly bool[] _isTemporary = new bool[Slots];
    private readonly List<string> _log = [];

    /// <summary>Bytes of the largest write.</summary>
    internal int MaxWriteBytes { get; init; } = 20_000;

    internal long MaxOffset { get; init; } = 60_000;

    internal void Step()
    {
        switch (_random.Next(100))
        {
            case < 8:
                (string path, uint mode, bool isExclusive) = (Path(), Mode(), _random.Next(2) == 0);
                Same($"create {path} {mode:x} {isExclusive}", tree => tree.Create(path, mode, isExclusive), NotFifo(path));
                break;
            case < 15:
                (path, mode) = (Path(), Mode());
                Same($"mkdir {path}", tree => tree.MakeDirectory(path, mode | 0x1c0));
                break;
            case < 16:
                path = Path();
                Same($"mkfifo {path}", tree => tree.MakeFifo(path, 0x1b6 & ~18u));
                break;
            case < 18:
                path = Path();
                Same($"symlink {path}", tree => tree.MakeSymlink(path, "nowhere/at all"));
                break;
            case < 23:
                (path, string other) = (Path(), Path());
                Same($"link {path} {other}", tree => tree.Link(path, other));
                break;
            case < 28:
                path = Path();
                Same($"unlink {path}", tree => tree.Unlink(path));
                break;
            case < 30:
                path = Path();
                Same($"rmdir {path}", tree => tree.RemoveDirectory(path));
                break;
            case < 39:
                (path, other) = (Path(), Path());
                RenameMode how = (RenameMode)_random.Next(3);
                Same($"rename {path} {other} {how}", tree => tree.Rename(path, other, how));
                break;
            case < 42:
                (path, mode) = (Path(), Mode() | (uint)(_random.Next(4) << 10));
                Same($"chmod {path} {mode:x}", tree => tree.SetMode(path, mode | (tree.GetFacts(path).Facts.Type == EntryType.Directory ? 0x1c0u : 0)));
                break;
            case < 43:
                (path, uint owner, uint group) = (Path(), (uint)_random.Next(1000, 1005), (uint)_random.Next(1000, 1005));
                Same($"chown {path} {owner} {group}", tree => tree.SetOwner(path, owner, group), Posix.PosixCalls.EffectiveUser == 0);
                break;
            case < 46:
                (path, long size) = (Path(), Offset());
                Same($"truncate {path} {size}", tree => tree.Resize(path, size), NotFifo(path));
                break;
            case < 50:
                (path, string xattr, byte[] value, XattrMode xattrMode) = (Path(), s_xattrs[_random.Next(3)], Bytes(_random.Next(200)), (XattrMode)_random.Next(3));
                Same($"setxattr {path} {xattr} {value.Length} {xattrMode}", tree => tree.SetXattr(path, xattr, value, xattrMode), HasXattrs(path));
                break;
            case < 52:
                (path, xattr) = (Path(), s_xattrs[_random.Next(3)]);
                Same($"removexattr {path} {xattr}", tree => tree.RemoveXattr(path, xattr), HasXattrs(path));
                break;
            case < 54:
                path = Path();
                Same($"list {path}", tree => tree.List(path), IsNoSymlink(path));
                break;
            case < 56:
                path = Path();
                Same($"stat {path}", tree => tree.GetFacts(path));
                break;
            default:
                StepOpen(_random.Next(Slots));
                break;
        }
    }

    internal void CloseAll()
    {
        for (int slot = 0; slot < Slots; slot++)
        {
            Close(slot);
        }
    }

    /// <summary>Everything that both trees hold.</summary>
    internal void CompareTrees()
    {
        var left = new StringBuilder();
        var right = new StringBuilder();
        Describe(expected, "", left);
        Describe(actual, "", right);
        Equal(left.ToString(), right.ToString(), "the whole tree");
    }

    internal static void Describe(IFileTree tree, string path, StringBuilder into)
    {
        (FileError error, FileFacts facts) = tree.GetFacts(path);
        into.Append(path).Append(' ').Append(error).Append(' ').Append(facts).Append(' ');
        if (facts.Type is EntryType.File or EntryType.Directory)
        {
            foreach (string name in tree.ListXattrs(path).Names.Split(' ', StringSplitOptions.RemoveEmptyEntries).Where(static name => name.StartsWith("user.", StringComparison.Ordinal)))
            {
                into.Append(name).Append('=').Append(Convert.ToHexString(tree.GetXattr(path, name).Value)).Append(' ');
            }
        }

        switch (facts.Type)
        {
            case EntryType.Symlink:
                into.Append(tree.ReadLink(path).Target);
                break;
            case EntryType.File:
                error = tree.Open(ReadSlot, path, OpenOptions.Read);
                (FileError readError, byte[] bytes) = tree.Read(ReadSlot, 0, (int)facts.Size + 1);
                into.Append(error).Append(readError).Append(bytes.Length).Append(' ').Append(Hash(bytes));
                tree.Close(ReadSlot);
                break;
            default:
                break;
        }

        into.Append('\n');
        if (facts.Type == EntryType.Directory)
        {
            (error, string names) = tree.List(path);
            into.Append(CultureInfo.InvariantCulture, $"{error} {names}\n");
            foreach (string name in names.Split(' ').Select(static item => item[..Math.Max(0, item.LastIndexOf(':'))]).Where(static name => name is not "." and not ".." and not ""))
            {
                Describe(tree, path.Length == 0 ? name : $"{path}/{name}", into);
            }
        }
    }

    private static string Hash(byte[] bytes)
    {
        byte[] hash = new byte[16];
        Core.Hashing.Blake3.Hash(bytes, hash);
        return Convert.ToHexString(hash);
    }

    private void StepOpen(int slot)
    {
        if (!_isOpen[slot])
        {
            string path = Path();
            if (_random.Next(6) == 0)
            {
                uint mode = Mode();
                _isTemporary[slot] = _isOpen[slot] = IsNoSymlink(path) && Same($"tmpfile {slot} {path}", tree => tree.OpenTemporary(slot, path, mode)) == FileError.None;
                return;
            }

            OpenOptions options = OpenOptions.Read | OpenOptions.Write | (_random.Next(5) == 0 ? OpenOptions.Truncate : 0) | (_random.Next(5) == 0 ? OpenOptions.Append : 0);
            _isTemporary[slot] = false;
            _isOpen[slot] = NotFifo(path) && Same($"open {slot} {path} {options}", tree => tree.Open(slot, path, options)) == FileError.None;
            return;
        }

        switch (_random.Next(20))
        {
            case < 7:
                (long offset, byte[] bytes) = (Offset(), Bytes(_random.Next(1, MaxWriteBytes)));
                Same($"write {slot} {offset} {bytes.Length}", tree => tree.Write(slot, offset, bytes));
                break;
            case < 10:
                (offset, int count) = (Offset(), _random.Next(1, MaxWriteBytes));
                Same($"read {slot} {offset} {count}", tree => tree.Read(slot, offset, count) is var read ? (read.Error, Hash(read.Bytes), read.Bytes.Length) : default);
                break;
            case < 12:
                long size = Offset();
                Same($"ftruncate {slot} {size}", tree => tree.ResizeOpen(slot, size));
                break;
            case < 15:
                (AllocateMode mode, offset, long length) = ((AllocateMode)_random.Next(5), Offset(), _random.Next(1, MaxWriteBytes));
                Same($"fallocate {slot} {mode} {offset} {length}", tree => tree.Allocate(slot, mode, offset, length));
                break;
            case < 16:
                int other = _random.Next(Slots);
                if (_isOpen[other])
                {
                    (offset, long toOffset, length) = (Offset(), Offset(), _random.Next(1, MaxWriteBytes));
                    Same($"copy {slot} {offset} {other} {toOffset} {length}", tree => tree.CopyRange(slot, offset, other, toOffset, length));
                }

                break;
            case < 17 when _isTemporary[slot]:
                string path = Path();
                Same($"linkat {slot} {path}", tree => tree.LinkOpen(slot, path), tree => tree.GetOpenFacts(slot).Facts.LinkCount == 0);
                break;
            case < 18:
                Same($"fstat {slot}", tree => tree.GetOpenFacts(slot));
                break;
            default:
                Close(slot);
                break;
        }
    }

    private void Close(int slot)
    {
        if (_isOpen[slot])
        {
            Same($"close {slot}", tree => tree.Close(slot));
            _isOpen[slot] = false;
        }
    }

    /// <summary>Three times of four the names lead where something is.</summary>
    private string Path()
    {
        string path = "";
        for (int depth = _random.Next(1, 4); depth > 0; depth--)
        {
            string[] present = [];
            if (_random.Next(4) > 0 && expected.GetFacts(path).Facts.Type == EntryType.Directory)
            {
                present = [.. expected.List(path).Names.Split(' ').Select(static item => item[..item.LastIndexOf(':')]).Where(static name => name is not "." and not "..")];
            }

            string name = present.Length > 0 ? present[_random.Next(present.Length)] : s_names[_random.Next(s_names.Length)];
            path = path.Length == 0 ? name : $"{path}/{name}";
            if (_random.Next(4) > 0 && expected.GetFacts(path).Facts.Type != EntryType.Directory)
            {
                break;
            }
        }

        return path;
    }

    private uint Mode() => 0x180u | ((uint)_random.Next(0x40) & ~0x12u);

    private long Offset() => _random.Next(3) == 0 ? 4096L * _random.Next((int)(MaxOffset / 4096)) : _random.NextInt64(MaxOffset);

    private byte[] Bytes(int count)
    {
        byte[] bytes = new byte[count];
        _random.NextBytes(bytes);
        return bytes;
    }

    private bool NotFifo(string path) => expected.GetFacts(path).Facts.Type != EntryType.Fifo;

    private bool IsNoSymlink(string path) => expected.GetFacts(path).Facts.Type != EntryType.Symlink;

    private bool HasXattrs(string path) => expected.GetFacts(path).Facts.Type is not (EntryType.Symlink or EntryType.Fifo);

    private void Same(string what, Func<IFileTree, FileError> call, Func<IFileTree, bool> isAsked)
    {
        if (isAsked(expected))
        {
            Same(what, call);
        }
    }

    private T? Same<T>(string what, Func<IFileTree, T> call, bool isAsked = true)
    {
        if (!isAsked)
        {
            return default;
        }

        T should = call(expected);
        _log.Add($"{what} = {should}");
        T does = call(actual);
        Equal(should, does, what);
        return should;
    }

    private void Equal<T>(T should, T does, string what) =>
        Assert.True(
            EqualityComparer<T>.Default.Equals(should, does),
            $"seed {seed}, operation {_log.Count}: {what}\nexpected {should}\nfound    {does}\nafter\n{string.Join('\n', _log.TakeLast(60))}");
}
