using System.Globalization;
using System.Text;

namespace TokTok.Storage.Files;

/// <summary>The names under <c>.snapshots</c>: one directory a snapshot, called by its time, and symlinks for labels and the latest.</summary>
/// <remarks>
/// A time is local and in whole seconds, with no byte that another system forbids: <c>2026-11-21_14-30-05</c>. Of several in one second each but the first has the beginning of
/// its id behind it. What people may also call a snapshot (<see cref="SnapshotNames"/>: the beginning of a time or of an id, besides its number) is found, not listed.
/// </remarks>
internal sealed class SnapshotFolder
{
    internal const string Latest = "latest";

    /// <summary>Digits of an id behind a time that stands already.</summary>
    private const int IdDigits = 8;

    private readonly IReadOnlyList<SnapshotRecord> _snapshots;
    private readonly TimeZoneInfo _zone;
    private readonly Dictionary<string, SnapshotRecord> _byName = new(StringComparer.Ordinal);
    private readonly Dictionary<SnapshotId, string> _names = [];
    private readonly Dictionary<string, SnapshotRecord> _aliases = new(StringComparer.Ordinal);

    /// <param name="snapshots">In order of time.</param>
    internal SnapshotFolder(IReadOnlyList<SnapshotRecord> snapshots, TimeZoneInfo zone)
    {
        _snapshots = snapshots;
        _zone = zone;
        foreach (SnapshotRecord snapshot in snapshots)
        {
            string name = NameOf(snapshot.TimeNs, zone);
            name = _byName.TryAdd(name, snapshot) ? name : $"{name}_{snapshot.Id.ToString()[..IdDigits]}";
            _byName[name] = snapshot;
            _names[snapshot.Id] = name;
        }

        if (snapshots.Count == 0)
        {
            return;
        }

        _aliases[Latest] = SnapshotNames.Newest(snapshots);
        foreach (SnapshotRecord snapshot in snapshots)
        {
            foreach (string label in snapshot.Labels)
            {
                if (label != Latest && !_byName.ContainsKey(label) && IsFileName(label))
                {
                    _aliases[label] = snapshot; // the newest that carries it
                }
            }
        }
    }

    /// <summary>The directories in order of time, then the symlinks in order of name.</summary>
    internal IEnumerable<(string Name, SnapshotRecord Snapshot, bool IsAlias)> All =>
        _snapshots.Select(each => (_names[each.Id], each, false)).Concat(_aliases.OrderBy(static alias => alias.Key, StringComparer.Ordinal).Select(static alias => (alias.Key, alias.Value, true)));

    internal int Count => _snapshots.Count;

    internal SnapshotRecord? Newest => _snapshots.Count > 0 ? _snapshots[^1] : null;

    /// <summary>The directory's name of a snapshot that is listed.</summary>
    internal string NameOf(SnapshotRecord snapshot) => _names[snapshot.Id];

    /// <summary>What a name stands for; an alias is shown as a symlink to the directory.</summary>
    internal bool TryFind(string name, out SnapshotRecord? snapshot, out bool isAlias)
    {
        isAlias = !_byName.TryGetValue(name, out snapshot);
        return !isAlias || _aliases.TryGetValue(name, out snapshot) || TryFindSpoken(name, out snapshot);
    }

    private bool TryFindSpoken(string name, out SnapshotRecord? snapshot)
    {
        snapshot = null;
        if (ulong.TryParse(name, NumberStyles.None, CultureInfo.InvariantCulture, out ulong number))
        {
            snapshot = _snapshots.FirstOrDefault(each => each.Number == number);
        }

        if (snapshot is null && name.Length >= SnapshotNames.MinIdDigits)
        {
            try
            {
                snapshot = SnapshotNames.Find(_snapshots, name, _zone);
            }
            catch (SnapshotNameException)
            {
                // none, or several
            }
        }

        return snapshot is not null;
    }

    private static string NameOf(long timeNs, TimeZoneInfo zone)
    {
        DateTimeOffset time = DateTimeOffset.FromUnixTimeSeconds(timeNs / 1_000_000_000);
        return TimeZoneInfo.ConvertTime(time, zone).ToString("yyyy-MM-dd_HH-mm-ss", CultureInfo.InvariantCulture);
    }

    private static bool IsFileName(string label) =>
        label is not ("" or "." or "..") && !label.AsSpan().ContainsAny('/', '\0') && Encoding.UTF8.GetByteCount(label) <= EntryLimits.MaxNameBytes;
}
