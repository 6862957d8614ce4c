namespace TokTok.Storage.Tdfs.Output;

/// <summary>Stdout. A refusal is told as what it is, trouble with the output and with nothing else.</summary>
/// <remarks>The first refusal ends the verb. What still waits in buffers then goes nowhere: behind a gap it would be taken for whole.</remarks>
internal sealed class DataStream(Stream inner) : WriteOnlyStream(inner)
{
    private bool _isRefused;

    public override void Write(ReadOnlySpan<byte> buffer)
    {
        try
        {
            if (!_isRefused)
            {
                Inner.Write(buffer);
            }
        }
        catch (IOException refused)
        {
            throw Refuse(refused);
        }
    }

    public override void Flush()
    {
        try
        {
            if (!_isRefused)
            {
                Inner.Flush();
            }
        }
        catch (IOException refused)
        {
            throw Refuse(refused);
        }
    }

    private UserError Refuse(IOException refused)
    {
        _isRefused = true;
        return DiskSpace.IsFull(refused)
            ? new UserError(ExitCode.DiskFull, "found no space left where the output goes, expected room for it; make space and run it again", refused)
            : new UserError(ExitCode.DiskFailed, $"writing the output: {refused.Message}", refused);
    }
}

/// <summary>Stderr. Who cannot be talked to is not talked to: the verb goes on, and its code says how it ended.</summary>
internal sealed class TalkStream(Stream inner) : WriteOnlyStream(inner)
{
    public override void Write(ReadOnlySpan<byte> buffer)
    {
        try
        {
            Inner.Write(buffer);
        }
        catch (IOException)
        {
        }
    }

    public override void Flush()
    {
        try
        {
            Inner.Flush();
        }
        catch (IOException)
        {
        }
    }
}

/// <summary>What a stream must be and these need not be: readable, seekable.</summary>
internal abstract class WriteOnlyStream(Stream inner) : Stream
{
    protected Stream Inner { get; } = inner;

    public override bool CanRead => false;

    public override bool CanSeek => false;

    public override bool CanWrite => true;

    public override long Length => throw new NotSupportedException();

    public override long Position { get => throw new NotSupportedException(); set => throw new NotSupportedException(); }

    public override void Write(byte[] buffer, int offset, int count) => Write(buffer.AsSpan(offset, count));

    public override Task WriteAsync(byte[] buffer, int offset, int count, CancellationToken cancellationToken) => WriteAsync(buffer.AsMemory(offset, count), cancellationToken).AsTask();

    public override ValueTask WriteAsync(ReadOnlyMemory<byte> buffer, CancellationToken cancellationToken = default)
    {
        cancellationToken.ThrowIfCancellationRequested();
        Write(buffer.Span);
        return ValueTask.CompletedTask;
    }

    public override Task FlushAsync(CancellationToken cancellationToken)
    {
        Flush();
        return Task.CompletedTask;
    }

    public override int Read(byte[] buffer, int offset, int count) => throw new NotSupportedException();

    public override long Seek(long offset, SeekOrigin origin) => throw new NotSupportedException();

    public override void SetLength(long value) => throw new NotSupportedException();
}
