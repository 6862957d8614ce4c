namespace TokTok.Storage.Files;

/// <summary>Where the listing of an open directory stands, and what it goes through: the names as they were when it began.</summary>
/// <remarks>
/// A cookie is a name's place in that sequence, so it stays good whatever comes and goes meanwhile: 1 and 2 for "." and "..", then one for each name.
/// To go back the listing keeps every 64th name. Locks: its own gate is held around every call.
/// </remarks>
internal sealed class DirectoryListing(TableCache tables)
{
    internal const ulong DotCookies = 2;

    private const int MarkEvery = 64;

    private readonly List<byte[]> _marks = [];
    private KeyValuePair<byte[], bool>[] _changes = []; // ascending; whether the name is there
    private TableCursor? _cursor;
    private bool _hasStored;
    private int _nextChange;
    private ulong _ordinal;

    internal Lock Gate { get; } = new();

    internal TableRoot Committed { get; private set; } = TableRoot.Empty;

    internal long Version { get; private set; } = -1;

    /// <summary>Whether there is anything to go through yet.</summary>
    internal bool IsBegun => _cursor is not null;

    /// <summary>The name to be handed over next; null at the end.</summary>
    internal ReadOnlyMemory<byte>? Name { get; private set; }

    /// <summary>Its committed entry; empty where the name has changed since.</summary>
    internal ReadOnlyMemory<byte> Stored { get; private set; }

    /// <summary>The cookie behind that name.</summary>
    internal ulong Cookie => DotCookies + _ordinal + 1;

    internal void Begin(TableRoot committed, long version, IEnumerable<KeyValuePair<byte[], bool>> changes)
    {
        Committed = committed;
        Version = version;
        _changes = [.. changes];
        Array.Sort(_changes, static (left, right) => left.Key.AsSpan().SequenceCompareTo(right.Key));
        _marks.Clear();
        _cursor = new TableCursor(tables, committed);
        SeekTo(default, 0);
    }

    /// <summary>Stands behind a cookie that was handed out.</summary>
    internal void MoveTo(ulong cookie)
    {
        ulong ordinal = cookie <= DotCookies ? 0 : cookie - DotCookies;
        if (ordinal == _ordinal)
        {
            return;
        }

        int mark = (int)Math.Min(ordinal / MarkEvery, (ulong)Math.Max(0, _marks.Count - 1));
        if (ordinal < _ordinal || (ulong)mark * MarkEvery > _ordinal)
        {
            SeekTo(_marks.Count == 0 ? default : _marks[mark], (ulong)mark * MarkEvery);
        }

        while (_ordinal < ordinal && Name is not null)
        {
            Advance();
        }
    }

    internal void Advance()
    {
        _ordinal++;
        Find();
    }

    private void SeekTo(ReadOnlySpan<byte> name, ulong ordinal)
    {
        _cursor!.Seek(name);
        _hasStored = _cursor.MoveNext();
        _nextChange = 0;
        while (_nextChange < _changes.Length && _changes[_nextChange].Key.AsSpan().SequenceCompareTo(name) < 0)
        {
            _nextChange++;
        }

        _ordinal = ordinal;
        Find();
    }

    /// <summary>Merges the committed names with the changed ones, which go before.</summary>
    private void Find()
    {
        while (true)
        {
            bool hasChange = _nextChange < _changes.Length;
            if (!_hasStored && !hasChange)
            {
                Name = null;
                return;
            }

            int order = !hasChange ? -1 : !_hasStored ? 1 : _cursor!.Current.Key.Span.SequenceCompareTo(_changes[_nextChange].Key);
            if (order < 0)
            {
                Name = _cursor!.Current.Key;
                Stored = _cursor.Current.Value;
                _hasStored = _cursor.MoveNext();
                break;
            }

            _hasStored = order == 0 ? _cursor!.MoveNext() : _hasStored;
            KeyValuePair<byte[], bool> change = _changes[_nextChange++];
            if (change.Value)
            {
                Name = change.Key;
                Stored = default;
                break;
            }
        }

        if (_ordinal % MarkEvery == 0 && (ulong)_marks.Count == _ordinal / MarkEvery)
        {
            _marks.Add(Name.Value.ToArray());
        }
    }
}
