using System.Diagnostics.CodeAnalysis;
using TokTok.Storage.Core;

namespace TokTok.Storage.Files;

/// <summary>Blocks that were read and taken apart, by score; the least recently used go first.</summary>
/// <remarks>Locks: one gate guards everything; nothing is read or parsed inside. A block found stays valid for whoever holds it, cached or not.</remarks>
internal sealed class BlockCache<T>(long maxBytes)
    where T : class
{
    private readonly Lock _gate = new();
    private readonly Dictionary<Score, LinkedListNode<(Score Score, T Block, int Bytes)>> _known = [];
    private readonly LinkedList<(Score Score, T Block, int Bytes)> _recency = new();
    private long _bytes;

    internal long Bytes
    {
        get
        {
            lock (_gate)
            {
                return _bytes;
            }
        }
    }

    internal bool TryGet(Score score, [NotNullWhen(true)] out T? block)
    {
        lock (_gate)
        {
            if (!_known.TryGetValue(score, out LinkedListNode<(Score Score, T Block, int Bytes)>? node))
            {
                block = null;
                return false;
            }

            if (node != _recency.First)
            {
                _recency.Remove(node);
                _recency.AddFirst(node);
            }

            block = node.Value.Block;
            return true;
        }
    }

    internal void Add(Score score, T block, int bytes)
    {
        lock (_gate)
        {
            if (_known.ContainsKey(score))
            {
                return;
            }

            _known.Add(score, _recency.AddFirst((score, block, bytes)));
            _bytes += bytes;
            while (_bytes > maxBytes && _recency.Count > 1)
            {
                (Score Score, T Block, int Bytes) oldest = _recency.Last!.Value;
                _recency.RemoveLast();
                _ = _known.Remove(oldest.Score);
                _bytes -= oldest.Bytes;
            }
        }
    }
}
