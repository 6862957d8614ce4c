using TokTok.Storage.Core;

namespace TokTok.Storage.Blocks.Journals;

/// <summary>The intents of one line's files as they are read, oldest file first: each once, however many copies of a file there are.</summary>
internal sealed class IntentRecords
{
    private readonly SortedDictionary<(UInt128 Volume, uint Device, ulong Incarnation, ulong Sequence, uint Part), Intent> _found = [];
    private readonly List<(UInt128 Volume, uint Device, ulong Incarnation, ulong Sequence, uint Part)> _older = [];
    private readonly HashSet<(UInt128 Volume, uint Device, ulong Incarnation, ulong Sequence, uint Part)> _repeated = [];

    internal IEnumerable<Intent> InOrder => _found.Values;

    /// <summary>What is known now comes from files of lower numbers.</summary>
    internal void BeginFile()
    {
        _older.Clear();
        _older.AddRange(_found.Keys);
        _repeated.Clear();
    }

    /// <summary>Another copy of the file, to be read from its beginning.</summary>
    internal void BeginCopy() => _repeated.Clear();

    internal void Add(Intent intent)
    {
        (UInt128 Volume, uint Device, ulong Incarnation, ulong Sequence, uint Part) key =
            (new UInt128(intent.Volume.Bytes.High, intent.Volume.Bytes.Low), intent.Device, intent.Incarnation, intent.Sequence, intent.Part);
        _found[key] = intent;
        _repeated.Add(key);
    }

    /// <summary>The file says that it has repeated all that is still wanted.</summary>
    internal void Carried()
    {
        foreach ((UInt128 Volume, uint Device, ulong Incarnation, ulong Sequence, uint Part) gone in _older)
        {
            if (!_repeated.Contains(gone))
            {
                _ = _found.Remove(gone);
            }
        }
    }
}
