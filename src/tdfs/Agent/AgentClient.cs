using System.Diagnostics;
using System.Net.Sockets;
using TokTok.Storage.Tdfs.Passphrases;

namespace TokTok.Storage.Tdfs.Agent;

/// <summary>A verb's side of the agent. An agent that is absent, mute or somebody else's is as good as none: the passphrase is asked instead.</summary>
/// <remarks>Format: docs/protocol.md 1. Calls block for at most two seconds.</remarks>
internal sealed class AgentClient(string path)
{
    private const int SilenceMilliseconds = 2000;

    /// <summary>The unlock key held for a keyring, or null.</summary>
    internal SecretBuffer? TryGet(ReadOnlySpan<byte> keyringId)
    {
        using SecretBuffer answer = new(AgentMessage.AnswerBytes);
        return TryAsk(AgentOperation.Get, keyringId, [], 0, answer, out AgentResult result, out _, out _) && result == AgentResult.Done
            ? SecretBuffer.Copy(AgentMessage.AnswerKey(answer.Room))
            : null;
    }

    /// <summary>Gives the agent a key to hold. False when there is no agent or it holds too many.</summary>
    internal bool TryPut(ReadOnlySpan<byte> keyringId, ReadOnlySpan<byte> key, TimeSpan time)
    {
        uint seconds = (uint)Math.Clamp(time.TotalSeconds, 1, AgentMessage.MaxSeconds);
        using SecretBuffer answer = new(AgentMessage.AnswerBytes);
        return TryAsk(AgentOperation.Put, keyringId, key, seconds, answer, out AgentResult result, out _, out _) && result == AgentResult.Done;
    }

    /// <summary>Makes the agent forget one keyring, or all for an empty id. Null when there is no agent; true when something was forgotten.</summary>
    internal bool? TryLock(ReadOnlySpan<byte> keyringId)
    {
        using SecretBuffer answer = new(AgentMessage.AnswerBytes);
        return TryAsk(AgentOperation.Lock, keyringId, [], 0, answer, out AgentResult result, out _, out _) ? result == AgentResult.Done : null;
    }

    /// <summary>Keyrings held and the longest time left, or null when there is no agent.</summary>
    internal (int Count, TimeSpan Left)? TryStatus()
    {
        using SecretBuffer answer = new(AgentMessage.AnswerBytes);
        return TryAsk(AgentOperation.Status, [], [], 0, answer, out _, out int count, out uint seconds) ? (count, TimeSpan.FromSeconds(seconds)) : null;
    }

    internal bool TryStop()
    {
        using SecretBuffer answer = new(AgentMessage.AnswerBytes);
        return TryAsk(AgentOperation.Stop, [], [], 0, answer, out AgentResult result, out _, out _) && result == AgentResult.Done;
    }

    internal static bool IsAnswering(string path) => new AgentClient(path).TryStatus() is not null;

    /// <summary>Gives a key to the agent, starting one (detached, in a session of its own) when none runs. False when that fails: the next verb asks again.</summary>
    internal bool TryPutStarting(ReadOnlySpan<byte> keyringId, ReadOnlySpan<byte> key, TimeSpan time)
    {
        if (time <= TimeSpan.Zero)
        {
            return false;
        }

        if (TryPut(keyringId, key, time))
        {
            return true;
        }

        if (TryStatus() is not null || !TryStart())
        {
            return false;
        }

        return TryPut(keyringId, key, time);
    }

    private bool TryStart()
    {
        string self = Environment.ProcessPath ?? "";
        ProcessStartInfo start = new(self)
        {
            RedirectStandardInput = true,
            RedirectStandardOutput = true,
            RedirectStandardError = true,
        };

        // Run by way of `dotnet tdfs.dll`, the program is the runtime and its first argument is ours.
        if (Path.GetFileNameWithoutExtension(self) == "dotnet")
        {
            start.ArgumentList.Add(Environment.GetCommandLineArgs()[0]);
        }

        start.ArgumentList.Add("agent");
        start.ArgumentList.Add("run");
        start.ArgumentList.Add("--socket");
        start.ArgumentList.Add(path);
        try
        {
            using Process? agent = Process.Start(start);
            // It says one line when it listens, and closes its end when it does not.
            return agent?.StandardOutput.ReadLine() is not null;
        }
        catch (Exception e) when (e is System.ComponentModel.Win32Exception or IOException)
        {
            return false;
        }
    }

    private bool TryAsk(AgentOperation operation, ReadOnlySpan<byte> id, ReadOnlySpan<byte> key, uint seconds, SecretBuffer answer, out AgentResult result, out int heldCount, out uint secondsLeft)
    {
        result = AgentResult.Refused;
        heldCount = 0;
        secondsLeft = 0;
        using SecretBuffer request = new(AgentMessage.RequestBytes);
        AgentMessage.WriteRequest(request.Room, operation, id, key, seconds);
        try
        {
            using Socket socket = new(AddressFamily.Unix, SocketType.Stream, ProtocolType.Unspecified)
            {
                SendTimeout = SilenceMilliseconds,
                ReceiveTimeout = SilenceMilliseconds,
            };
            socket.Connect(new UnixDomainSocketEndPoint(path));
            if (!AgentPaths.IsSameUser(socket))
            {
                return false;
            }

            for (int done = 0; done < AgentMessage.RequestBytes;)
            {
                done += socket.Send(request.Room[done..]);
            }

            for (int done = 0; done < AgentMessage.AnswerBytes;)
            {
                int got = socket.Receive(answer.Room[done..]);
                if (got == 0)
                {
                    return false;
                }

                done += got;
            }
        }
        catch (Exception e) when (e is SocketException or ArgumentException)
        {
            // No socket there, nobody listening, a path too long for one, or silence.
            return false;
        }

        return AgentMessage.TryReadAnswer(answer.Room, out result, out heldCount, out secondsLeft);
    }
}
