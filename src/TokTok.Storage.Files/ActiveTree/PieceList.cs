using System.Runtime.InteropServices;

namespace TokTok.Storage.Files;

/// <summary>The pieces of a file, ascending and apart: a list in runs of some hundreds, so that one more among many thousands moves few others.</summary>
/// <remarks>
/// Why: in one array the twenty-thousandth page that is written somewhere moves a quarter of a megabyte (measured: a fifth of the node's time in random writes).
/// Indices are those of the whole. One that lies near the last one that was asked for is found at once, any other by counting runs. Not safe from several threads, readers included.
/// </remarks>
internal sealed class PieceList
{
    internal const int MostInRun = 512;

    private readonly List<List<FilePiece>> _runs = [[]]; // none is empty but a single one

    // The run that was used last, and the index of its first piece.
    private int _run;
    private int _start;

    internal int Count { get; private set; }

    internal FilePiece this[int index]
    {
        get => Run(index)[index - _start];
        set => Run(index)[index - _start] = value;
    }

    /// <summary>The first piece that ends behind an offset, or the count.</summary>
    internal int FindFrom(long offset)
    {
        int low = 0;
        int high = _runs.Count - 1;
        while (low < high)
        {
            int middle = (low + high) >>> 1;
            (low, high) = _runs[middle][^1].End > offset ? (low, middle) : (middle + 1, high);
        }

        Use(low);
        List<FilePiece> run = _runs[low];
        low = 0;
        high = run.Count;
        while (low < high)
        {
            int middle = (low + high) >>> 1;
            (low, high) = run[middle].End > offset ? (low, middle) : (middle + 1, high);
        }

        return _start + low;
    }

    internal void Add(FilePiece piece) => Insert(Count, piece);

    internal void Insert(int index, FilePiece piece)
    {
        List<FilePiece> run = Run(Math.Max(0, index == Count ? index - 1 : index));
        run.Insert(index - _start, piece);
        Count++;
        if (run.Count > MostInRun)
        {
            // Who appends leaves full runs behind.
            int kept = index == Count - 1 ? MostInRun : MostInRun / 2;
            List<FilePiece> behind = new(MostInRun);
            behind.AddRange(run[kept..]);
            run.RemoveRange(kept, run.Count - kept);
            _runs.Insert(_run + 1, behind);
        }
    }

    internal void InsertRange(int index, List<FilePiece> pieces)
    {
        ReadOnlySpan<FilePiece> rest = CollectionsMarshal.AsSpan(pieces);
        if (index == Count)
        {
            // At the end a run at once.
            while (!rest.IsEmpty)
            {
                if (_runs[^1].Count == MostInRun)
                {
                    _runs.Add(new(MostInRun));
                }

                int count = Math.Min(rest.Length, MostInRun - _runs[^1].Count);
                _runs[^1].AddRange(rest[..count]);
                Count += count;
                rest = rest[count..];
            }

            return;
        }

        foreach (FilePiece piece in rest)
        {
            Insert(index++, piece);
        }
    }

    internal void RemoveAt(int index) => RemoveRange(index, 1);

    internal void RemoveRange(int index, int count)
    {
        while (count > 0)
        {
            List<FilePiece> run = Run(index);
            int here = Math.Min(count, _start + run.Count - index);
            run.RemoveRange(index - _start, here);
            Count -= here;
            count -= here;
            if (run.Count == 0 && _runs.Count > 1)
            {
                _runs.RemoveAt(_run);
                (_run, _start) = (0, 0);
            }
        }
    }

    internal void Clear()
    {
        _runs.RemoveRange(1, _runs.Count - 1);
        _runs[0].Clear();
        (_run, _start, Count) = (0, 0, 0);
    }

    internal FilePiece[] ToArray()
    {
        var all = new FilePiece[Count];
        int at = 0;
        foreach (List<FilePiece> run in _runs)
        {
            run.CopyTo(all, at);
            at += run.Count;
        }

        return all;
    }

    private List<FilePiece> Run(int index)
    {
        while (index < _start)
        {
            _start -= _runs[--_run].Count;
        }

        while (index >= _start + _runs[_run].Count && _run < _runs.Count - 1)
        {
            _start += _runs[_run++].Count;
        }

        return _runs[_run];
    }

    private void Use(int run)
    {
        while (_run > run)
        {
            _start -= _runs[--_run].Count;
        }

        while (_run < run)
        {
            _start += _runs[_run++].Count;
        }
    }
}
