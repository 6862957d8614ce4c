using TokTok.Storage.Tdfs.Agent;
using TokTok.Storage.Testing;

namespace TokTok.Storage.Tdfs.Tests.Agent;

/// <summary>Messages of fixed size with anything in them: an answer or a refusal, never an exception.</summary>
public sealed class AgentHostileBytesTests
{
    [Theory]
    [InlineData(31)]
    [InlineData(32)]
    public void Requests_and_answers_of_any_bytes_are_read_or_refused(int seed)
    {
        byte[] request = new byte[AgentMessage.RequestBytes];
        byte[] id = [.. Enumerable.Repeat((byte)7, AgentMessage.IdBytes)];
        AgentMessage.WriteRequest(request, AgentOperation.Put, id, id, 60);
        HostileBytes.AssertHandled(seed, request, static bytes => _ = AgentMessage.TryReadRequest(Fixed(bytes, AgentMessage.RequestBytes), out _, out _, out _, out _));
        byte[] answer = new byte[AgentMessage.AnswerBytes];
        AgentMessage.WriteAnswer(answer, AgentResult.Done, 1, 60);
        HostileBytes.AssertHandled(seed, answer, static bytes => _ = AgentMessage.TryReadAnswer(Fixed(bytes, AgentMessage.AnswerBytes), out _, out _, out _));
    }

    [Fact]
    public void A_request_that_the_protocol_does_not_allow_is_refused()
    {
        byte[] id = [.. Enumerable.Repeat((byte)7, AgentMessage.IdBytes)];
        byte[] none = new byte[AgentMessage.IdBytes];
        Assert.True(IsAllowed(AgentOperation.Put, id, id, 1));
        Assert.False(IsAllowed(AgentOperation.Put, id, id, 0));
        Assert.False(IsAllowed(AgentOperation.Put, id, id, AgentMessage.MaxSeconds + 1));
        Assert.False(IsAllowed(AgentOperation.Put, none, id, 1));
        Assert.True(IsAllowed(AgentOperation.Get, id, none, 0));
        Assert.False(IsAllowed(AgentOperation.Get, id, id, 0));
        Assert.False(IsAllowed((AgentOperation)0, none, none, 0));
        Assert.False(IsAllowed((AgentOperation)6, none, none, 0));
    }

    private static bool IsAllowed(AgentOperation operation, byte[] id, byte[] key, uint seconds)
    {
        byte[] request = new byte[AgentMessage.RequestBytes];
        AgentMessage.WriteRequest(request, operation, id, key, seconds);
        return AgentMessage.TryReadRequest(request, out _, out _, out _, out _);
    }

    /// <summary>Both sides read exactly a message's size before they look at it.</summary>
    private static byte[] Fixed(byte[] bytes, int size)
    {
        Array.Resize(ref bytes, size);
        return bytes;
    }
}
