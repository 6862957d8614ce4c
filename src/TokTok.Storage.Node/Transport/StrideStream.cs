using System.Buffers;

namespace TokTok.Storage.Node.Transport;

/// <summary>What lies below TLS, read and written in long strides: TLS itself reads and writes a record of 16 KiB at a time, and each would be a call of the system and wake the other side.</summary>
/// <remarks>What is written goes when it is flushed, or is as much as a stride. One reader and one writer at a time, as with TLS.</remarks>
internal sealed class StrideStream(Stream inner) : Stream
{
    private const int ReadBytes = 128 * 1024;
    private const int WriteBytes = 128 * 1024;

    private byte[]? _came;
    private int _from;
    private int _to;
    private byte[]? _going;
    private int _waiting;

    public override bool CanRead => true;

    public override bool CanSeek => false;

    public override bool CanWrite => true;

    public override long Length => throw new NotSupportedException();

    public override long Position
    {
        get => throw new NotSupportedException();
        set => throw new NotSupportedException();
    }

    public override void Flush() => throw new NotSupportedException("this connection never blocks");

    public override async Task FlushAsync(CancellationToken cancellationToken)
    {
        if (Interlocked.Exchange(ref _going, null) is { } going) // whoever closes a connection may flush beside its user
        {
            int count = _waiting;
            _waiting = 0;
            await inner.WriteAsync(going.AsMemory(0, count), cancellationToken).ConfigureAwait(false);
            ArrayPool<byte>.Shared.Return(going);
        }

        await inner.FlushAsync(cancellationToken).ConfigureAwait(false);
    }

    public override int Read(byte[] buffer, int offset, int count) => throw new NotSupportedException("this connection never blocks");

    public override ValueTask<int> ReadAsync(Memory<byte> buffer, CancellationToken cancellationToken = default)
    {
        return _from < _to ? ValueTask.FromResult(Take(buffer.Span)) : MoreAsync(buffer, cancellationToken);
    }

    public override Task<int> ReadAsync(byte[] buffer, int offset, int count, CancellationToken cancellationToken) => ReadAsync(buffer.AsMemory(offset, count), cancellationToken).AsTask();

    public override void Write(byte[] buffer, int offset, int count) => throw new NotSupportedException("this connection never blocks");

    public override ValueTask WriteAsync(ReadOnlyMemory<byte> buffer, CancellationToken cancellationToken = default)
    {
        if (_waiting + buffer.Length > WriteBytes)
        {
            return PassAsync(buffer, cancellationToken);
        }

        _going ??= ArrayPool<byte>.Shared.Rent(WriteBytes);
        buffer.Span.CopyTo(_going.AsSpan(_waiting));
        _waiting += buffer.Length;
        return default;
    }

    public override Task WriteAsync(byte[] buffer, int offset, int count, CancellationToken cancellationToken) => WriteAsync(buffer.AsMemory(offset, count), cancellationToken).AsTask();

    public override long Seek(long offset, SeekOrigin origin) => throw new NotSupportedException();

    public override void SetLength(long value) => throw new NotSupportedException();

    protected override void Dispose(bool disposing)
    {
        if (disposing)
        {
            inner.Dispose();
        }

        base.Dispose(disposing);
    }

    private int Take(Span<byte> target)
    {
        int count = Math.Min(target.Length, _to - _from);
        _came.AsSpan(_from, count).CopyTo(target);
        _from += count;
        return count;
    }

    private async ValueTask<int> MoreAsync(Memory<byte> buffer, CancellationToken cancel)
    {
        _came ??= GC.AllocateUninitializedArray<byte>(ReadBytes);
        (_from, _to) = (0, 0);
        _to = await inner.ReadAsync(_came, cancel).ConfigureAwait(false);
        return Take(buffer.Span);
    }

    private async ValueTask PassAsync(ReadOnlyMemory<byte> buffer, CancellationToken cancel)
    {
        await FlushAsync(cancel).ConfigureAwait(false);
        if (buffer.Length > WriteBytes)
        {
            await inner.WriteAsync(buffer, cancel).ConfigureAwait(false);
        }
        else
        {
            await WriteAsync(buffer, cancel).ConfigureAwait(false);
        }
    }
}

/// <summary>TLS over strides, for those that do not flush: each write goes at once.</summary>
internal sealed class FlushedStream(Stream tls) : Stream
{
    public override bool CanRead => true;

    public override bool CanSeek => false;

    public override bool CanWrite => true;

    public override long Length => throw new NotSupportedException();

    public override long Position
    {
        get => throw new NotSupportedException();
        set => throw new NotSupportedException();
    }

    public override void Flush() => throw new NotSupportedException("this connection never blocks");

    public override Task FlushAsync(CancellationToken cancellationToken) => tls.FlushAsync(cancellationToken);

    public override int Read(byte[] buffer, int offset, int count) => throw new NotSupportedException("this connection never blocks");

    public override ValueTask<int> ReadAsync(Memory<byte> buffer, CancellationToken cancellationToken = default) => tls.ReadAsync(buffer, cancellationToken);

    public override void Write(byte[] buffer, int offset, int count) => throw new NotSupportedException("this connection never blocks");

    public override async ValueTask WriteAsync(ReadOnlyMemory<byte> buffer, CancellationToken cancellationToken = default)
    {
        await tls.WriteAsync(buffer, cancellationToken).ConfigureAwait(false);
        await tls.FlushAsync(cancellationToken).ConfigureAwait(false);
    }

    public override long Seek(long offset, SeekOrigin origin) => throw new NotSupportedException();

    public override void SetLength(long value) => throw new NotSupportedException();

    protected override void Dispose(bool disposing)
    {
        if (disposing)
        {
            tls.Dispose();
        }

        base.Dispose(disposing);
    }
}
