using System.Collections.Concurrent;
using TokTok.Storage.Files;

namespace TokTok.Storage.Tdfs.Composition;

/// <summary>The volumes that this process has open to work in: who changes one of these otherwise does it by what is open.</summary>
/// <remarks>Safe from many threads.</remarks>
internal sealed class OpenVolumes
{
    private readonly ConcurrentDictionary<string, OpenVolume> _open = new(StringComparer.Ordinal);

    internal IReadOnlyCollection<OpenVolume> All => [.. _open.Values.OrderBy(static each => each.Volume.Name, StringComparer.Ordinal)];

    internal OpenVolume? Find(string name) => _open.GetValueOrDefault(name);

    /// <summary>False: it is open already.</summary>
    internal bool TryAdd(OpenVolume open) => _open.TryAdd(open.Volume.Name, open);

    internal void Remove(OpenVolume open) => _open.TryRemove(KeyValuePair.Create(open.Volume.Name, open));
}

/// <summary>A volume and its active tree; whoever opened it disposes of both.</summary>
internal sealed record OpenVolume(Volume Volume, VolumeView View, string Where);
