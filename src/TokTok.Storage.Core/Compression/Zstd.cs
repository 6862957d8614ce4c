using System.Buffers.Binary;
using System.Runtime.CompilerServices;
using System.Runtime.ConstrainedExecution;
using System.Runtime.InteropServices;
using TokTok.Storage.Core.Interop;

namespace TokTok.Storage.Core.Compression;

/// <summary>libzstd by interop: whole frames, with contexts that are kept and reused.</summary>
/// <remarks>Format: docs/format.md 2.3. Source: RFC 8878 and zstd.h of 1.5.
/// Level 3, the store's own, has search tables of 64 and 128 KiB in place of up to 256 and 512: they lie in the second cache of a processor with all else that a
/// block needs there, which is a quarter to a third faster for less than 1 % more bytes (docs/decisions/compression-level.md).
/// Contexts: at most one per processor and direction lies idle; more may exist while more threads are at work, and are freed on return.
/// Safe from several threads.
/// Errors: a target that is too small, or bytes that are no frame, are a return value; a missing library is one exception that names the package.</remarks>
public static unsafe partial class Zstd
{
    public const int LowestLevel = -7, HighestLevel = 19;

    /// <summary>The largest window of a frame that is read, as RFC 8878 asks of every reader.</summary>
    public const int MaximumWindowBytes = 8 * 1024 * 1024;

    private const int SmallTablesLevel = 3;
    private const int SmallShortTableLog = 14, SmallLongTableLog = 15, SmallMinMatch = 5;

    // zstd.h: ZSTD_cParameter; 0 lets the level choose.
    private const int ParameterLevel = 100, ParameterHashLog = 102, ParameterChainLog = 103, ParameterMinMatch = 105;

    private const uint FrameMagic = 0xFD2FB528;
    private const int DictionaryFlag = 3, SingleSegmentFlag = 32, ContentSizeShift = 6;

    private static readonly ContextPool s_compressors = new(compress: true);
    private static readonly ContextPool s_decompressors = new(compress: false);

    static Zstd() => NativeLibraries.Install();

    /// <summary>The version of the library in use, as 10506 for 1.5.6.</summary>
    public static int LibraryVersion => checked((int)ZSTD_versionNumber());

    /// <summary>Compresses into one frame. False if it does not fit <paramref name="target"/>.</summary>
    public static bool TryCompress(ReadOnlySpan<byte> plain, Span<byte> target, int level, out int bytes)
    {
        ArgumentOutOfRangeException.ThrowIfLessThan(level, LowestLevel);
        ArgumentOutOfRangeException.ThrowIfGreaterThan(level, HighestLevel);
        nuint result;
        Context context = s_compressors.Rent();
        context.SetLevel(level);
        fixed (byte* p = plain, t = target)
        {
            result = ZSTD_compress2(context.Handle, t, (nuint)target.Length, p, (nuint)plain.Length);
        }

        s_compressors.Return(context);
        bool fits = ZSTD_isError(result) == 0;
        bytes = fits ? (int)result : 0;
        return fits;
    }

    /// <summary>Decompresses one frame. False unless it is valid, gives exactly <c>plain.Length</c> bytes, at least one, says no other size, names no dictionary,
    /// keeps to <see cref="MaximumWindowBytes"/> and fills <paramref name="packed"/> to its end; then plain is zeroed.</summary>
    public static bool TryDecompress(ReadOnlySpan<byte> packed, Span<byte> plain)
    {
        if (!IsAllowedFrame(packed, plain.Length))
        {
            plain.Clear();
            return false;
        }

        nuint result, frameBytes;
        Context context = s_decompressors.Rent();
        fixed (byte* s = packed, p = plain)
        {
            frameBytes = ZSTD_findFrameCompressedSize(s, (nuint)packed.Length);
            result = frameBytes == (nuint)packed.Length ? ZSTD_decompressDCtx(context.Handle, p, (nuint)plain.Length, s, frameBytes) : 0;
        }

        s_decompressors.Return(context);
        if (ZSTD_isError(result) == 0 && result == (nuint)plain.Length && !plain.IsEmpty)
        {
            return true;
        }

        plain.Clear();
        return false;
    }

    /// <summary>Whether a frame's header (RFC 8878, 3.1.1.1) says no other content size, a window within bounds, and no dictionary.</summary>
    private static bool IsAllowedFrame(ReadOnlySpan<byte> packed, int plainBytes)
    {
        if (packed.Length <= sizeof(uint) || BinaryPrimitives.ReadUInt32LittleEndian(packed) != FrameMagic)
        {
            return false;
        }

        int descriptor = packed[sizeof(uint)];
        bool isSingleSegment = (descriptor & SingleSegmentFlag) != 0;
        int sizeBytes = (descriptor >> ContentSizeShift) switch { 0 => isSingleSegment ? 1 : 0, 1 => 2, 2 => 4, _ => 8 };
        int windowBytes = isSingleSegment ? 0 : 1;
        ReadOnlySpan<byte> rest = packed[(sizeof(uint) + 1)..];
        if ((descriptor & DictionaryFlag) != 0 || rest.Length < windowBytes + sizeBytes)
        {
            return false;
        }

        ReadOnlySpan<byte> size = rest[windowBytes..];
        ulong contentBytes = sizeBytes switch
        {
            0 => (ulong)plainBytes, // not said
            1 => size[0],
            2 => BinaryPrimitives.ReadUInt16LittleEndian(size) + 256UL,
            4 => BinaryPrimitives.ReadUInt32LittleEndian(size),
            _ => BinaryPrimitives.ReadUInt64LittleEndian(size),
        };
        long unit = isSingleSegment ? 0 : 1L << (10 + (rest[0] >> 3));
        long window = isSingleSegment ? 0 : unit + (unit / 8 * (rest[0] & 7));
        return contentBytes == (ulong)plainBytes && window <= MaximumWindowBytes;
    }

    [LibraryImport(NativeLibraries.Zstd)]
    private static partial uint ZSTD_versionNumber();

    [LibraryImport(NativeLibraries.Zstd)]
    private static partial uint ZSTD_isError(nuint code);

    [LibraryImport(NativeLibraries.Zstd)]
    private static partial nuint ZSTD_findFrameCompressedSize(byte* source, nuint sourceBytes);

    [LibraryImport(NativeLibraries.Zstd)]
    private static partial nint ZSTD_createCCtx();

    [LibraryImport(NativeLibraries.Zstd)]
    private static partial nuint ZSTD_freeCCtx(nint context);

    [LibraryImport(NativeLibraries.Zstd)]
    private static partial nint ZSTD_createDCtx();

    [LibraryImport(NativeLibraries.Zstd)]
    private static partial nuint ZSTD_freeDCtx(nint context);

    [LibraryImport(NativeLibraries.Zstd)]
    private static partial nuint ZSTD_CCtx_setParameter(nint context, int parameter, int value);

    [LibraryImport(NativeLibraries.Zstd)]
    private static partial nuint ZSTD_compress2(nint context, byte* target, nuint targetBytes, byte* source, nuint sourceBytes);

    [LibraryImport(NativeLibraries.Zstd)]
    private static partial nuint ZSTD_decompressDCtx(nint context, byte* target, nuint targetBytes, byte* source, nuint sourceBytes);

    /// <summary>One native context. The finalizer frees it, so a thread that dies between rent and return leaks nothing.</summary>
    private sealed class Context(bool compress) : CriticalFinalizerObject, IDisposable
    {
        private int? _level;

        internal nint Handle { get; } = NotNull(compress ? ZSTD_createCCtx() : ZSTD_createDCtx());

        ~Context() => Free();

        public void Dispose()
        {
            Free();
            GC.SuppressFinalize(this);
        }

        /// <summary>Level and tables stay with a context until others are asked for.</summary>
        internal void SetLevel(int level)
        {
            if (_level == level)
            {
                return;
            }

            bool isSmall = level == SmallTablesLevel;
            Set(ParameterLevel, level);
            Set(ParameterChainLog, isSmall ? SmallShortTableLog : 0);
            Set(ParameterHashLog, isSmall ? SmallLongTableLog : 0);
            Set(ParameterMinMatch, isSmall ? SmallMinMatch : 0);
            _level = level;
        }

        private void Set(int parameter, int value)
        {
            if (ZSTD_isError(ZSTD_CCtx_setParameter(Handle, parameter, value)) != 0)
            {
                throw new NotSupportedException($"libzstd {LibraryVersion} refuses {value} for parameter {parameter}; version 1.4 or later is needed.");
            }
        }

        private void Free() => _ = compress ? ZSTD_freeCCtx(Handle) : ZSTD_freeDCtx(Handle);

        private static nint NotNull(nint handle) => handle != 0 ? handle : throw new InsufficientMemoryException("libzstd could not allocate a context.");
    }

    /// <summary>Idle contexts, at most one per processor. <c>lock (_gate)</c> guards <c>_idle</c> and <c>_count</c>.</summary>
    private sealed class ContextPool(bool compress)
    {
        private readonly Lock _gate = new();
        private readonly Context?[] _idle = new Context?[Environment.ProcessorCount];
        private int _count;

        internal Context Rent()
        {
            lock (_gate)
            {
                if (_count > 0)
                {
                    _count--;
                    Context context = _idle[_count]!;
                    _idle[_count] = null;
                    return context;
                }
            }

            return new Context(compress);
        }

        [MethodImpl(MethodImplOptions.NoInlining)] // Keeps the context alive, and so unfinalized, up to this call.
        internal void Return(Context context)
        {
            lock (_gate)
            {
                if (_count < _idle.Length)
                {
                    _idle[_count++] = context;
                    return;
                }
            }

            context.Dispose();
        }
    }
}
