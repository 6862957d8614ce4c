using BenchmarkDotNet.Attributes;
using TokTok.Storage.Core;
using TokTok.Storage.Core.Chunking;
using TokTok.Storage.Core.Erasure;
using TokTok.Storage.Core.Hashing;

namespace Micro;

/// <summary>BLAKE3 on each path: small blocks, chunks' usual lengths, an arena's slice.</summary>
public class Blake3Benchmarks
{
    private byte[] _input = [];
    private byte[] _groups = [];
    private readonly byte[] _hash = new byte[Blake3.HashSize];

    [Params(64, 1024, 16_384, 65_536, 1 << 20)]
    public int Bytes { get; set; }

    [GlobalSetup]
    public void Setup()
    {
        _input = new byte[Bytes];
        new Random(1).NextBytes(_input);
        _groups = new byte[Blake3Tree.GroupCount(Bytes) * Blake3.HashSize];
    }

    [Benchmark(Baseline = true)]
    public void Hash() => Blake3.Hash(_input, _hash);

    [Benchmark]
    public void HashOn128Bits() => Blake3.Hash(KernelPath.Vector128, _input, _hash);

    [Benchmark]
    public void HashWithGroups() => Blake3Tree.HashWithGroups(_input, _groups, _hash);
}

/// <summary>Coding and rebuilding 1 MiB of data in the classes that people get.</summary>
public class ReedSolomonBenchmarks
{
    private byte[] _data = [];
    private byte[] _parity = [];
    private byte[] _held = [];
    private byte[] _rebuilt = [];
    private int[] _present = [];
    private ReedSolomon _coder = new(1, 0);
    private int _sliceBytes;

    [Params("16+1", "4+3", "10+4")]
    public string Class { get; set; } = "";

    [GlobalSetup]
    public void Setup()
    {
        int[] parts = [.. Class.Split('+').Select(int.Parse)];
        (int k, int m) = (parts[0], parts[1]);
        _coder = new ReedSolomon(k, m);
        _sliceBytes = (1 << 20) / k;
        _data = new byte[k * _sliceBytes];
        new Random(1).NextBytes(_data);
        _parity = new byte[m * _sliceBytes];
        _coder.Encode(_data, _parity, _sliceBytes);
        _present = [.. Enumerable.Range(1, k)];
        _held = [.. _data.AsSpan(_sliceBytes), .. _parity.AsSpan(0, _sliceBytes)];
        _rebuilt = new byte[_sliceBytes];
    }

    [Benchmark(Baseline = true)]
    public void Encode() => _coder.Encode(_data, _parity, _sliceBytes);

    [Benchmark]
    public void RebuildFirstSlice() => _coder.Reconstruct(_present, _held, [0], _rebuilt, _sliceBytes);
}

/// <summary>Cutting 8 MiB of noise.</summary>
public class FastCdcBenchmarks
{
    private readonly byte[] _input = new byte[8 << 20];
    private readonly GearTable _gear = GearTable.FromSeed(new byte[GearTable.SeedSize]);
    private FastCdc? _chunker;

    [Params(64, 128, 256)]
    public int MeanKib { get; set; }

    [GlobalSetup]
    public void Setup()
    {
        new Random(1).NextBytes(_input);
        _chunker = new FastCdc(_gear, ChunkBounds.ForMean(MeanKib << 10));
    }

    [Benchmark]
    public int Cut()
    {
        int count = 0;
        for (int at = 0; at < _input.Length; count++)
        {
            at += _chunker!.NextCut(_input.AsSpan(at));
        }

        return count;
    }

    [GlobalCleanup]
    public void Cleanup() => _gear.Dispose();
}
